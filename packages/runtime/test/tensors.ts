/** Tensors and backends for tests: TensorFlow on the CPU and wasm in one process. */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect } from 'vitest';
import { cast, type DType, memory, openBackend } from '../src/index.ts';

export type BackendName = 'cpu' | 'wasm';

async function useBackend(name: BackendName): Promise<void> {
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

/** The tests that `define` makes, once on each backend, which has these dtypes. */
export function onBackends(define: (name: BackendName, dtypes: readonly DType[]) => void): void {
  describe.each(['cpu', 'wasm'] as const)('%s', (name) => {
    beforeAll(() => useBackend(name));
    define(name, name === 'cpu' ? ['float32', 'int32', 'bfloat16'] : ['float32', 'int32']);
  });
}

/** 0, 1, 2, ... in this shape. All are whole numbers that bfloat16 has, too, up to 256. */
export function tensorOf(shape: readonly number[], dtype: DType): tf.Tensor {
  const count = shape.reduce((product, length) => product * length, 1);
  const numbers = Array.from({ length: count }, (_, i) => i);
  if (dtype === 'int32') return tf.tensor(Int32Array.from(numbers), [...shape], 'int32');
  return tf.tidy(() => cast(tf.tensor(Float32Array.from(numbers), [...shape], 'float32'), dtype));
}

/** Runs `work` and fails unless tensors and bytes are afterwards what they were before. */
export async function expectNoLeak<R>(work: () => Promise<R>): Promise<R> {
  const before = memory();
  const result = await work();
  const after = memory();
  expect({ tensors: after.tensors, bytes: after.bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
  return result;
}
