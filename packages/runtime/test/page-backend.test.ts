import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { UserError } from '../src/errors.ts';
import { adapterOf, openPageBackend } from '../src/page/backend.ts';

const folder = dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm/package.json'));
const names = ['', '-simd', '-threaded-simd'].map((kind) => `tfjs-backend-wasm${kind}.wasm`);
const wasmPaths = Object.fromEntries(names.map((name) => [name, join(folder, 'dist', name)]));

test('WebAssembly computes, and says on what', async () => {
  const backend = await openPageBackend({ device: 'wasm', wasmPaths });
  expect(backend).toMatchObject({ name: 'wasm', device: 'wasm' });
  expect(backend.description).toMatch(/^WebAssembly on \d+ threads?(, with SIMD)?$/);
  expect(tf.getBackend()).toBe('wasm');
  const y = tf.tidy(() => tf.add(tf.tensor1d([1, 2]), 1));
  expect(await y.array()).toEqual([2, 3]);
  y.dispose();
});

test('WebGPU is refused where there is none, and nothing else is taken for it', async () => {
  const opening = openPageBackend({ device: 'webgpu', wasmPaths });
  await expect(opening).rejects.toThrow(new UserError('this browser has no WebGPU adapter: use WebAssembly'));
});

test('a browser may have no WebGPU, no adapter, or one', async () => {
  expect(await adapterOf(undefined)).toBeUndefined();
  expect(await adapterOf({})).toBeUndefined();
  expect(await adapterOf({ gpu: { requestAdapter: async () => null } })).toBeUndefined();
  const adapter = { info: { vendor: 'acme' } };
  expect(await adapterOf({ gpu: { requestAdapter: async () => adapter } })).toBe(adapter);
});
