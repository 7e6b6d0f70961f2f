/**
 * A run that goes on from a checkpoint: with the same bits in the same layout, and in any other as that one computes.
 */
import { cpSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Change, folder, trained } from './run.ts';

const shape = { dim: 32, heads: 4, kvHeads: 2, ffn: 64, layers: 2, microBatchSize: 1, evalSequences: 4 };
let counter = 0;

/** A run of 8 steps with checkpoints after 3 and 6; and what a run has that begins there again. */
async function saved(change: Change) {
  const checkpoints = join(folder, `checkpoints-${counter++}`);
  const whole = await trained({ ...shape, steps: 8, checkpoints, saveEvery: 3, keep: 0, ...change });
  const last = join(checkpoints, 'step-000008');
  const files = readdirSync(last).filter((name) => name.endsWith('.safetensors'));
  const bits = files.map((name) => readFileSync(join(last, name)));
  rmSync(last, { recursive: true });
  rmSync(join(checkpoints, 'step-000006'), { recursive: true });
  return { whole, checkpoints, files, bits };
}

test.each<Change>([
  { microBatchSize: 4 },
  { dp: 2, tp: 2, zero: true, microBatchSize: 2 },
  { dp: 2, pp: 2, cp: 2, tp: 2, gradAccSteps: 2 },
  { pp: 2, ppEngine: 'interleaved', ppChunks: 2, layers: 4, gradAccSteps: 3 },
  { dp: 2, bucketMegabytes: 0, recompute: 'block' },
  { precision: 'bfloat16', tp: 4, sequenceParallel: true },
  { precision: 'bfloat16', moments: 'bfloat16', masterWeights: false, dp: 2, zero: true },
])('the same layout: the same bits as if it had not been interrupted: %j', async (change) => {
  const { whole, checkpoints, files, bits } = await saved(change);
  const resumed = await trained({ ...shape, steps: 8, checkpoints, saveEvery: 3, keep: 0, ...change });
  expect(resumed.losses).toEqual(whole.losses.slice(3));
  expect(resumed.validation).toBe(whole.validation);
  for (const [i, name] of files.entries())
    expect(readFileSync(join(checkpoints, 'step-000008', name)).equals(bits[i] as Buffer), name).toBe(true);
});

const four = { dp: 2, tp: 2, zero: true, gradAccSteps: 2 }; // four sequences a step
test('another layout: the same losses within 1e-5, as layouts differ by themselves', async () => {
  const { whole, checkpoints } = await saved(four);
  for (const [i, change] of [
    { microBatchSize: 4 },
    { pp: 2, cp: 2, gradAccSteps: 2, microBatchSize: 2 },
    { dp: 4, zero: true, bucketMegabytes: 0.01 },
    { dp: 2, microBatchSize: 2 },
    { tp: 4, sequenceParallel: true, microBatchSize: 4 },
    { dp: 2, pp: 2, cp: 2, tp: 2, zero: true, gradAccSteps: 2 },
  ].entries()) {
    const copy = join(folder, `copy-${i}`);
    cpSync(checkpoints, copy, { recursive: true });
    const resumed = await trained({ ...shape, steps: 8, checkpoints: copy, ...change });
    expect(resumed.losses).toHaveLength(5);
    for (const [k, loss] of whole.losses.slice(3).entries())
      expect(Math.abs((resumed.losses[k] as number) / loss - 1), JSON.stringify(change)).toBeLessThan(1e-5);
    expect(Math.abs(resumed.validation / whole.validation - 1)).toBeLessThan(1e-5);
  }
});

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
