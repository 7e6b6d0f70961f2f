/** Runs layouts and plans them, to hold one against the other. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openTokenizer } from '@fourfold/data';
import { memoryOf, type Part, partsOf, plannedBytesOf } from '@fourfold/plan';
import { coordinatesOf, rankCount, spmd } from '@fourfold/process-group';
import { type Settings, settings, shapeOf } from '@fourfold/settings';
import { expect } from 'vitest';
import { node } from './command.ts';
import { observe } from './planned-rank.ts';
import { text } from './run.ts';

/** Large enough that tensors of a few numbers don't matter; with buckets that hold a few parameters. */
const size = { model: 'micro', layers: 4, seqLength: 128, microBatchSize: 4, bucketMegabytes: 0.25, device: 'cpu' };
const configOf = (change: object): Settings => settings.parse({ ...size, data: text, ...change });

const tokenizer = await openTokenizer('bytes');
const jobOf = (config: Settings) => ({ config, shape: shapeOf(config, tokenizer) });

// biome-ignore format: a table
export const LAYOUTS: readonly object[] = [
  {}, { recompute: 'selective' }, { recompute: 'block' }, { gradAccSteps: 3 },
  { vocabulary: 8000, microBatchSize: 16, tied: false },
  { dp: 2 }, { dp: 4, zero: true }, { dp: 2, bucketMegabytes: 0, gradAccSteps: 2 },
  { tp: 2 }, { tp: 4, sequenceParallel: true }, { tp: 4, kvHeads: 2, recompute: 'block' },
  { tp: 2, sequenceParallel: true, recompute: 'selective', tied: false },
  { cp: 2 }, { cp: 4, recompute: 'block' }, { cp: 2, contextOrder: 'contiguous', recompute: 'selective' },
  { pp: 2, gradAccSteps: 4 }, { pp: 4, gradAccSteps: 8 }, { pp: 2, gradAccSteps: 4, ppEngine: 'afab' },
  { pp: 2, gradAccSteps: 4, ppEngine: 'interleaved' },
  { pp: 2, gradAccSteps: 4, tied: false, ppBalance: 'cost', recompute: 'selective', vocabulary: 2000 },
  { dp: 2, tp: 2, zero: true }, { dp: 2, pp: 2, gradAccSteps: 2 }, { cp: 2, tp: 2 },
  { pp: 2, tp: 2, gradAccSteps: 3, sequenceParallel: true }, { dp: 2, cp: 2, zero: true, recompute: 'block' },
];

/** What every rank sent in a step, by group, counted in a run of coroutines, and as planned. */
async function traffic(change: object) {
  const config = configOf(change);
  const observed = await spmd(rankCount(config), (world) => observe(world, config));
  const planned = await Promise.all(observed.map((_, rank) => plannedBytesOf(jobOf(config), rank)));
  return { counted: observed.map(({ sent }) => sent), planned };
}

/** Every rank sends what was planned, to the byte. */
export async function expectPlannedTraffic(change: object): Promise<void> {
  const { counted, planned } = await traffic(change);
  expect(planned).toEqual(counted);
}

/** A planned peak over the measured one. */
export interface Ratio {
  /** Of the plan, which takes the network to be slow. */
  readonly planned: number;
  /** Of the least that it may be: with ZeRO a bucket that has been reduced keeps 1/n of its gradients. */
  readonly least: number;
}

/** Whether what was measured is within 10 % of the plan, or between the plan and the least that it may be. */
export const isClose = ({ planned, least }: Ratio): boolean => planned > 0.9 && least < 1.1;

/**
 * For each layout, and each stage of its pipeline, the planned peak over that of the rank that held most. Each rank is
 * a process, and the processes run all layouts: starting them takes longer than the steps.
 */
export async function peakRatios(changes: readonly object[]): Promise<Ratio[][]> {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-planned-'));
  const configs = changes.map(configOf);
  const ranks = Math.max(...configs.map(rankCount));
  try {
    const launch = fileURLToPath(new URL('../../process-group/bin/launch.mjs', import.meta.url));
    const script = fileURLToPath(new URL('planned-rank.ts', import.meta.url));
    const { code, stderr } = await node([launch, '--nproc', `${ranks}`, script, JSON.stringify(configs), folder]);
    if (code !== 0) throw new Error(stderr);
    const read = (rank: number) => JSON.parse(readFileSync(join(folder, `${rank}.json`), 'utf8')) as number[];
    const peaks = Array.from({ length: ranks }, (_, rank) => read(rank));
    return configs.map((config, i) => {
      const each = peaks.slice(0, rankCount(config)).map((of) => of[i] as number);
      return partsOf(jobOf(config)).map((part: Part, stage) => {
        const ofStage = each.filter((_, rank) => coordinatesOf(rank, config).pp === stage);
        const { total, gradients } = memoryOf(jobOf(config), part, stage);
        const reduced = config.zero ? gradients * (1 - 1 / (config.dp * config.cp)) : 0;
        const measured = Math.max(...ofStage);
        return { planned: total / measured, least: (total - reduced) / measured };
      });
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
