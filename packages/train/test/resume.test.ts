/**
 * A run that goes on from a checkpoint: with the same bits in the same layout, and in any other as that one computes.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { expectSameBits, expectSameLosses, shape } from './resumed.ts';
import { type Change, folder, trained } from './run.ts';

test.each<Change>([
  { microBatchSize: 4 },
  { dp: 2, tp: 2, zero: true, microBatchSize: 2 },
  { pp: 2, ppEngine: 'interleaved', ppChunks: 2, layers: 4, gradAccSteps: 3 },
  { dp: 2, bucketMegabytes: 0, recompute: 'block' },
  { precision: 'bfloat16', moments: 'bfloat16', masterWeights: false, dp: 2, zero: true },
])('the same layout: the same bits as if it had not been interrupted: %j', expectSameBits);

test('another layout: the same losses within 1e-5, as layouts differ by themselves', () =>
  expectSameLosses([
    { pp: 2, cp: 2, gradAccSteps: 2, microBatchSize: 2 },
    { dp: 4, zero: true, bucketMegabytes: 0.01 },
  ]));

test('outliers: skipped by all ranks alike, as often in a resumed run', async () => {
  const checkpoints = join(folder, 'outliers');
  // Losses of a run that learns fall, so of 136 steps with so low a limit some of the last 8 are above it.
  const change = {
    ...shape,
    dp: 2,
    steps: 136,
    skipOutliers: 0.02,
    learningRate: 1e-4,
    checkpoints,
    saveEvery: 130,
    keep: 0,
  };
  const skips = (said: string) =>
    said.match(/^step \d+ is skipped: its loss or gradient is \d+\.\d deviations/gm) ?? [];
  const whole = await trained(change);
  expect(skips(whole.said).length).toBeGreaterThan(0);
  const { updates } = JSON.parse(readFileSync(join(checkpoints, 'step-000136', 'checkpoint.json'), 'utf8'));
  expect(updates).toBe(136 - skips(whole.said).length);
  rmSync(join(checkpoints, 'step-000136'), { recursive: true });
  const resumed = await trained(change);
  expect(resumed.losses).toEqual(whole.losses.slice(130));
  expect(skips(resumed.said)).toEqual(skips(whole.said).slice(-skips(resumed.said).length || 136));
});
