/**
 * What tests of all packages share, as `@fourfold/runtime/testing`: both backends in one process, a look for leaks, and
 * a GPU's clock where there is no GPU.
 */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect } from 'vitest';
import type { CudaModule } from '../src/cuda.ts';
import { memory, openBackend } from '../src/index.ts';
import { type TensorflowBackend, tensorflow } from '../src/tensorflow.ts';

export type BackendName = 'cpu' | 'wasm';

/** Makes a backend tfjs's; the next call may ask for the other one, which `openBackend` alone would refuse. */
export async function useBackend(name: BackendName): Promise<void> {
  await openBackend({ device: 'cpu' });
  if (name === 'cpu') {
    await tf.setBackend('tensorflow');
    return;
  }
  const wasm = await import('@tensorflow/tfjs-backend-wasm');
  const folder = dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm/package.json'));
  if (tf.findBackend('wasm') === null) wasm.setWasmPaths(`${folder}/dist/`);
  await tf.setBackend('wasm');
}

/** The tests that `define` makes, once on each backend. */
export function onBackends(define: (name: BackendName) => void): void {
  describe.each(['cpu', 'wasm'] as const)('%s', (name) => {
    beforeAll(() => useBackend(name));
    define(name);
  });
}

/** Runs `work` and fails unless tensors and bytes are afterwards what they were before. */
export async function expectNoLeak<R>(work: () => Promise<R>): Promise<R> {
  const before = memory();
  const result = await work();
  const after = memory();
  expect({ tensors: after.tensors, bytes: after.bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
  return result;
}

/** Runs `work` with a GPU's clock, which ticks once a mark, a millisecond each: the ops are TensorFlow's on the CPU. */
export async function withClock<R>(work: () => Promise<R>): Promise<R> {
  const backend = tensorflow() as { -readonly [K in keyof TensorflowBackend]: TensorflowBackend[K] };
  let ticks = 0;
  const clock = { mark: () => ticks++, marks: () => Array.from({ length: ticks }, (_, i) => i) };
  backend.cuda = clock as unknown as CudaModule;
  try {
    return await work();
  } finally {
    backend.cuda = undefined;
  }
}
