/** Jobs for tests: settings, and what bench measured on GPUs. */
import { readdirSync, readFileSync } from 'node:fs';
import { openTokenizer } from '@fourfold/data';
import type { LlamaConfig } from '@fourfold/model';
import { type Settings, settings, shapeOf } from '@fourfold/settings';
import type { Job } from '../src/index.ts';

const bytes = await openTokenizer('bytes');

export function jobOf(change: object): Job {
  const config = settings.parse(change);
  return { config, shape: shapeOf(config, bytes) };
}

/** A run of bench:gpu or bench:gpu-ranks. */
export interface MeasuredRun {
  readonly name: string;
  readonly job: Job;
  readonly machine: 'h100' | 'h200';
  readonly seconds: number;
  /** Of each rank. */
  readonly peakBytes: readonly number[];
}

interface RanksFile {
  readonly runs: { who: string; step: number; settings: Settings; ranks: { peakBytes: number }[] }[];
}
interface StepFile {
  readonly task: Record<string, unknown> & { config: LlamaConfig };
  readonly runs: { step: number; peakBytes: number }[];
}

const results = new URL('../../../bench/results/', import.meta.url);
/** Files from before recomputation had levels say true and false. */
const levelOf = (recompute: unknown) => (typeof recompute === 'boolean' ? (recompute ? 'block' : 'none') : recompute);

/** All that bench/results holds of our side. */
export function measuredRuns(): MeasuredRun[] {
  const files = readdirSync(results).filter((file) => /^gpu-.*\.json$/.test(file) && !file.includes('check'));
  return files.flatMap((file): MeasuredRun[] => {
    const json: unknown = JSON.parse(readFileSync(new URL(file, results), 'utf8'));
    const machine = file.includes('H100') ? 'h100' : 'h200';
    if (file.startsWith('gpu-ranks'))
      return (json as RanksFile).runs.map(({ who, step, settings: given, ranks }) => ({
        ...{ name: `${who} (${file})`, machine, seconds: step / 1000 },
        job: jobOf({ ...given, recompute: levelOf(given.recompute) }),
        peakBytes: ranks.map(({ peakBytes }) => peakBytes),
      }));
    const { task, runs } = json as StepFile;
    const [ours] = runs as [StepFile['runs'][number]];
    const { dtype: precision, moments, masterWeights, batch: microBatchSize, seq: seqLength } = task;
    const how = { device: 'cuda', precision, moments, masterWeights, recompute: levelOf(task['recompute']) };
    const { config } = jobOf({ ...how, microBatchSize, seqLength });
    const job = { config, shape: task.config };
    return [{ name: file, job, machine, seconds: ours.step / 1000, peakBytes: [ours.peakBytes] }];
  });
}
