/** Runs that are interrupted and go on, in the same layout and in others. */
import { cpSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type Change, folder, trained } from './run.ts';

export const shape = { dim: 32, heads: 4, kvHeads: 2, ffn: 64, layers: 2, microBatchSize: 1, evalSequences: 4 };
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

/** In the same layout: the same bits as if it had not been interrupted. */
export async function expectSameBits(change: Change): Promise<void> {
  const { whole, checkpoints, files, bits } = await saved(change);
  const resumed = await trained({ ...shape, steps: 8, checkpoints, saveEvery: 3, keep: 0, ...change });
  expect(resumed.losses).toEqual(whole.losses.slice(3));
  expect(resumed.validation).toBe(whole.validation);
  for (const [i, name] of files.entries())
    expect(readFileSync(join(checkpoints, 'step-000008', name)).equals(bits[i] as Buffer), name).toBe(true);
}

const four = { dp: 2, tp: 2, zero: true, gradAccSteps: 2 }; // four sequences a step

/** In other layouts: the same losses within 1e-5, as layouts differ by themselves. */
export async function expectSameLosses(changes: readonly Change[]): Promise<void> {
  const { whole, checkpoints } = await saved(four);
  for (const [i, change] of changes.entries()) {
    const copy = join(folder, `copy-${i}`);
    cpSync(checkpoints, copy, { recursive: true });
    const resumed = await trained({ ...shape, steps: 8, checkpoints: copy, ...change });
    expect(resumed.losses).toHaveLength(5);
    for (const [k, loss] of whole.losses.slice(3).entries())
      expect(Math.abs((resumed.losses[k] as number) / loss - 1), JSON.stringify(change)).toBeLessThan(1e-5);
    expect(Math.abs(resumed.validation / whole.validation - 1)).toBeLessThan(1e-5);
  }
}
