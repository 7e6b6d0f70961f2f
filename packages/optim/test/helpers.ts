/** Backends for the optimizer's tests: TensorFlow ('cpu') and wasm, in one process. */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { openBackend } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe } from 'vitest';

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
