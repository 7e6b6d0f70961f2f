/** What ranks compute in the page for what a reader has chosen in a figure. */
import { onMounted, type Ref, ref, type ShallowRef, shallowRef, watch } from 'vue';
import { openCpu } from './backend.ts';
import { latest } from './play.ts';

/** The newest result, and why there is none newer. */
export interface ComputedByRanks<R> {
  readonly result: Readonly<ShallowRef<R | undefined>>;
  readonly error: Readonly<Ref<string | undefined>>;
}

/** Runs `run` when the page is there, and again when what `choice` reads has changed; one run at a time. */
export function computedByRanks<C, R>(choice: () => C, run: (choice: C) => Promise<R>): ComputedByRanks<R> {
  const result = shallowRef<R>();
  const error = ref<string>();
  const ask = latest(
    async (chosen: C) => {
      await openCpu();
      return run(chosen);
    },
    (found) => {
      result.value = found;
      error.value = undefined;
    },
    (failure) => {
      error.value = String(failure);
    },
  );
  onMounted(() => watch(choice, ask, { immediate: true }));
  return { result, error };
}
