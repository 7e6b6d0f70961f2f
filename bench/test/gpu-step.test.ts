import { MODELS } from '@fourfold/model';
import { openBackend, read } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { measure, quickWeights, type Task } from '../src/gpu-step.ts';

const config = { ...MODELS['nano'], vocabulary: 50 } as Task['config'];
const task: Task = {
  ...{
    config,
    batch: 2,
    seq: 16,
    warmup: 2,
    steps: 30,
    recompute: 'none',
    deterministic: true,
    device: 'cpu',
    profile: false,
  },
  ...{ dtype: 'float32', gradients: 'float32', moments: 'float32', masterWeights: true },
};

test('steps after the warm-up are timed, one by one', async () => {
  const start = performance.now();
  const { milliseconds, peakBytes, version, device } = await measure(task);
  const wall = performance.now() - start;
  expect(milliseconds).toHaveLength(30);
  expect(Math.min(...milliseconds)).toBeGreaterThan(0);
  expect(milliseconds.reduce((a, b) => a + b)).toBeLessThan(wall);
  expect(peakBytes).toBeGreaterThan(4 * 3 * 100_000); // 100,000 weights with two moments each
  expect([version, device]).toEqual([expect.stringMatching(/^TensorFlow /), expect.stringMatching(/CPU thread/)]);
});

test.each([
  ['float32 with float32 moments', {}],
  ['bfloat16 weights rounded from masters', { dtype: 'bfloat16', moments: 'bfloat16' }],
  ['bfloat16 alone, rounded at random', { dtype: 'bfloat16', moments: 'bfloat16', masterWeights: false }],
  [
    'gradients in bfloat16 too',
    { dtype: 'bfloat16', gradients: 'bfloat16', moments: 'bfloat16', masterWeights: false },
  ],
  ['selectively recomputed', { recompute: 'selective' }],
  ['recomputed activations', { recompute: 'block' }],
] as const)('the steps train: %s', async (_, options) => {
  const { loss } = await measure({ ...task, ...options });
  expect(loss).toBeLessThan(Math.log(50) - 0.4); // it knew nothing; 32 steps on one batch
  expect(loss).toBeGreaterThan(0);
});

test('recomputing changes no loss', async () => {
  const kept = await measure(task);
  for (const recompute of ['selective', 'block'] as const)
    expect((await measure({ ...task, recompute })).loss, recompute).toBe(kept.loss);
});

test('weights are of their name alone, and a rank has its part of them', async () => {
  await openBackend({ device: 'cpu' });
  const numbersOf = async (name: string, shard?: { axis: number; index: number; of: number }) => {
    const x = quickWeights({ name, fullShape: [6, 500], shard });
    const numbers = Float32Array.from(await read(x));
    x.dispose();
    return numbers;
  };
  const before = tf.memory().numTensors;
  const whole = await numbersOf('w');
  expect(await numbersOf('w')).toEqual(whole);
  expect(await numbersOf('v')).not.toEqual(whole);
  expect(await numbersOf('w', { axis: 0, index: 1, of: 3 })).toEqual(whole.slice(1000, 2000));
  const squares = whole.reduce((sum, x) => sum + x * x, 0);
  expect(Math.sqrt(squares / whole.length)).toBeCloseTo(0.02, 2); // of 3000 numbers: within 1.3 % of it
  expect(tf.memory().numTensors).toBe(before);
});
