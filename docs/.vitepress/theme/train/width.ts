/** How wide an element is, in pixels: drawings have their text in the page's size on a phone too. */
import { onBeforeUnmount, onMounted, type Ref, ref } from 'vue';

export function useWidth(element: Ref<HTMLElement | null>, atFirst: number): Ref<number> {
  const width = ref(atFirst);
  let observer: ResizeObserver | undefined;
  onMounted(() => {
    observer = new ResizeObserver(([entry]) => {
      width.value = Math.max(240, entry?.contentRect.width ?? atFirst);
    });
    if (element.value) observer.observe(element.value);
  });
  onBeforeUnmount(() => observer?.disconnect());
  return width;
}
