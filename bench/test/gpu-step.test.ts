import { MODELS } from '@fourfold/model';
import { expect, test } from 'vitest';
import { measure, type Task } from '../src/gpu-step.ts';

const config = { ...MODELS['nano'], vocabulary: 50 } as Task['config'];
const task: Task = {
  ...{
    config,
    batch: 2,
    seq: 16,
    warmup: 2,
    steps: 30,
    recompute: false,
    deterministic: true,
    device: 'cpu',
    profile: false,
  },
  ...{ dtype: 'float32', moments: 'float32', masterWeights: true },
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
  ['recomputed activations', { recompute: true }],
] as const)('the steps train: %s', async (_, options) => {
  const { loss } = await measure({ ...task, ...options });
  expect(loss).toBeLessThan(Math.log(50) - 0.4); // it knew nothing; 32 steps on one batch
  expect(loss).toBeGreaterThan(0);
});

test('recomputing changes no loss', async () => {
  const [kept, again] = [await measure(task), await measure({ ...task, recompute: true })];
  expect(again.loss).toBe(kept.loss);
});
