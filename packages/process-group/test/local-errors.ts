/** How worlds of coroutines go wrong, for the tests that make them. */
import { memory } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import { type ProcessGroup, spmd } from '../src/index.ts';

export const f4 = { shape: [4], dtype: 'float32' } as const;

/** A tensor that is gone when `use` has ended, well or not. */
export async function withTensor<R>(x: Tensor, use: (x: Tensor) => Promise<R>): Promise<R> {
  try {
    return await use(x);
  } finally {
    x.dispose();
  }
}

/** A tensor's values; it is freed. */
export async function numbers(y: Tensor): Promise<number[]> {
  const values = Array.from(await y.data());
  y.dispose();
  return values;
}

/** The error of a world; fails unless it comes at once and leaves nothing behind. */
export async function errorOf(size: number, body: (world: ProcessGroup) => Promise<unknown>): Promise<string> {
  const begin = performance.now();
  const before = memory();
  const error = await spmd(size, body).then(
    () => new Error('none'),
    (reason: Error) => reason,
  );
  expect(performance.now() - begin).toBeLessThan(500);
  const after = memory();
  expect([after.tensors, after.bytes]).toEqual([before.tensors, before.bytes]);
  return error.message;
}
