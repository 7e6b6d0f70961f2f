import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { rankCount, spmd } from '@fourfold/process-group';
import type { Settings } from '@fourfold/settings';
import { expect, test } from 'vitest';
import { layoutOf, sameBatchAlone, settingsFor } from '../src/rank-layouts.ts';
import { type Found, type RankTask, randomSetup, timedSteps } from '../src/rank-steps.ts';
import { temporaryFolder } from './command.ts';

const folder = temporaryFolder();
const work = { model: 'nano', batch: 2, seq: 16, micros: 2, cpBatch: 2, cpSeq: 32, device: 'cpu' } as const;
const constant = { learningRate: 1e-2, schedule: 'constant', warmupSteps: 0 } as const;
const configOf = (name: string): Settings => settingsFor(layoutOf(name), { ...work, ...constant });

/** What rank 0 found, of ranks as coroutines of this process. */
async function run(config: Settings, rest: Partial<RankTask> = {}): Promise<Found> {
  const setup = await randomSetup(config);
  const task = { config, warmup: 2, steps: 3, ...rest };
  const [found] = await spmd(rankCount(config), (world) => timedSteps(task, setup, world));
  return found as Found;
}

test('random tokens of the vocabulary, as many as a step takes', async () => {
  const { text, shape } = await randomSetup(configOf('dp2-pp2'));
  expect(text.train.count).toBe(2 * 2 * 2 * 16 + 1);
  const ids = text.train.read(0, text.train.count);
  expect(Math.max(...ids)).toBeLessThan(shape.vocabulary);
  expect(Math.min(...ids)).toBeGreaterThanOrEqual(0);
  expect(new Set(ids).size).toBeGreaterThan(80); // of 129, the same number seldom
  expect(text.train.read(3, 4)).toEqual(ids.slice(3, 7));
});

test('each step after the warm-up is timed, on every rank; all steps train', async () => {
  const { ranks, losses, gradNorms, version, device } = await run(configOf('tp2-sp'));
  expect(ranks.map(({ label }) => label)).toEqual(['tp0', 'tp1']);
  for (const { milliseconds, peakBytes } of ranks) {
    expect(milliseconds).toHaveLength(3);
    expect(Math.min(...milliseconds)).toBeGreaterThan(0);
    expect(peakBytes).toBeGreaterThan(4 * 4 * 110_000); // nano's weights, gradients and two moments
  }
  expect([losses.length, gradNorms.length]).toEqual([5, 5]);
  expect(Math.abs((losses[0] as number) - Math.log(256))).toBeLessThan(0.2); // it knows nothing
  expect(losses[4] as number).toBeLessThan((losses[0] as number) - 0.1); // and sees the same tokens again
  expect([version, device]).toEqual([expect.stringMatching(/^TensorFlow /), expect.stringMatching(/CPU thread/)]);
});

// Sums over ranks are taken in another order; a float32 has 24 bits.
test.each(['dp2', 'dp2-zero', 'pp2', 'cp2', 'dp2-tp2'])('%s begins at the same weights as one GPU', async (name) => {
  const config = configOf(name);
  const [many, one] = [await run(config, { steps: 1 }), await run(sameBatchAlone(config), { steps: 1 })];
  for (const [i, loss] of one.losses.entries()) expect(Math.abs((many.losses[i] ?? 0) / loss - 1)).toBeLessThan(1e-5);
  expect(Math.abs((many.gradNorms[0] ?? 0) / (one.gradNorms[0] ?? 0) - 1)).toBeLessThan(1e-5);
});

test('a trace shows two steps more, of all ranks', async () => {
  const trace = join(folder, 'pp2.json');
  const { losses } = await run(configOf('pp2'), { trace });
  expect(losses).toHaveLength(5);
  const { traceEvents } = JSON.parse(readFileSync(trace, 'utf8')) as { traceEvents: { name: string; pid: number }[] };
  expect(new Set(traceEvents.map(({ pid }) => pid))).toEqual(new Set([0, 1]));
  for (const name of ['update', 'forward of micro-batch 2', 'backward of micro-batch 1'])
    expect(traceEvents.filter((event) => event.name === name)).toHaveLength(4); // 2 steps on 2 ranks
});

test('a loss that is no number fails the run, and no trace is left', async () => {
  const trace = join(folder, 'none.json');
  const config = { ...configOf('dp2'), learningRate: 1e30, clip: 0 };
  await expect(run(config, { trace })).rejects.toThrow(/^the loss of step \d is NaN$/);
  expect(existsSync(trace)).toBe(false);
});
