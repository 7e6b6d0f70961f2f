import { useBackend } from '@fourfold/runtime/testing';
import { expect, test } from 'vitest';
import { zeroWeights } from '../src/index.ts';

test("weights to be replaced are zeros of the part's shape", async () => {
  await useBackend('cpu');
  const part = zeroWeights({ name: 'w', fullShape: [4, 6], shard: { axis: 1, index: 2, of: 3 } });
  expect([part.shape, [...part.dataSync()]]).toEqual([[4, 2], Array(8).fill(0)]);
  part.dispose();
});
