/** A figure's numbers follow its choices. */
import { expect, test, vi } from 'vitest';
import { createRenderer, ref } from 'vue';
import { type ComputedByRanks, computedByRanks } from '../src/figures/computed-by-ranks.ts';

/** Mounts a component of nothing but this set-up, into nothing. */
function mounted<T>(setup: () => T): T {
  const node = () => ({});
  const none = () => null;
  const { createApp } = createRenderer<object, object>({
    ...{ createElement: node, createText: node, createComment: node, parentNode: none, nextSibling: none },
    ...{ insert() {}, remove() {}, patchProp() {}, setText() {}, setElementText() {} },
  });
  let made: T | undefined;
  createApp({
    setup() {
      made = setup();
      return () => null;
    },
  }).mount({});
  return made as T;
}

test('it is computed once the component is there, and again after a change', async () => {
  const n = ref(2);
  const { result, error } = mounted<ComputedByRanks<number>>(() =>
    computedByRanks(
      () => ({ n: n.value }),
      async (choice) => choice.n ** 2,
    ),
  );
  expect(result.value).toBe(undefined);
  await vi.waitFor(() => expect(result.value).toBe(4));
  n.value = 3;
  await vi.waitFor(() => expect(result.value).toBe(9));
  expect(error.value).toBe(undefined);
});

test('an error is told, the last result stays, and the next one takes the error away', async () => {
  const n = ref(1);
  const { result, error } = mounted<ComputedByRanks<number>>(() =>
    computedByRanks(
      () => n.value,
      async (choice) => {
        if (choice === 2) throw new Error('two will not do');
        return choice;
      },
    ),
  );
  await vi.waitFor(() => expect(result.value).toBe(1));
  n.value = 2;
  await vi.waitFor(() => expect(error.value).toBe('Error: two will not do'));
  expect(result.value).toBe(1);
  n.value = 3;
  await vi.waitFor(() => expect(result.value).toBe(3));
  expect(error.value).toBe(undefined);
});
