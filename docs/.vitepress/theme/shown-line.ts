/** Marks the line that the address names, whenever address or page change. */
import { useRoute } from 'vitepress';
import { onMounted, onUnmounted, watch } from 'vue';
import { showLine } from '../../src/walk/shown-line.ts';

/** To be called once, where the site is set up. */
export function useShownLine(): void {
  const route = useRoute();
  const show = () => showLine(document, location.hash);
  watch(() => route.path, show, { flush: 'post' });
  onMounted(() => {
    show();
    window.addEventListener('hashchange', show);
  });
  onUnmounted(() => window.removeEventListener('hashchange', show));
}
