/**
 * The plan beside what was measured: runs of bench:gpu and bench:gpu-ranks, from the files that they leave.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatTraffic } from '@fourfold/metrics';
import type { LlamaConfig } from '@fourfold/model';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { type Settings, settings, shapeOf } from '@fourfold/settings';
import { MACHINES, type Machine } from './machines.ts';
import { memoryOf } from './memory.ts';
import { layoutName } from './plan.ts';
import { table } from './report.ts';
import { partsOf } from './stages.ts';
import { timeOf } from './time.ts';
import type { Job } from './traffic.ts';

/** A run that was measured. */
export interface MeasuredRun {
  /** The file that says so. */
  readonly file: string;
  /** What was run. */
  readonly job: Job;
  /** Its name among MACHINES. */
  readonly machine: string;
  /** Of a step. */
  readonly seconds: number;
  /** Of each rank. */
  readonly peakBytes: readonly number[];
}

/** What bench:gpu-ranks writes, and bench:gpu: as much of it as is used. */
interface RanksFile {
  readonly runs: { who: string; step: number; settings: Settings; ranks: { peakBytes: number }[] }[];
}
interface StepFile {
  readonly task: Record<string, unknown> & { config: LlamaConfig };
  readonly runs: { step: number; peakBytes: number }[];
}

/** A job from given settings. In files from before recomputation had levels it is true or false. */
function jobOf(given: Record<string, unknown>, shape?: LlamaConfig): Job {
  const { recompute: level } = given;
  const recompute = typeof level === 'boolean' ? (level ? 'block' : 'none') : level;
  const config = settings.parse({ ...given, recompute });
  return { config, shape: shape ?? shapeOf(config, { vocabularySize: 256 }) };
}

/** Our side of all runs in a folder on machines that are described here. Throws UserError where it can't be read. */
export function measuredRuns(folder: string): MeasuredRun[] {
  try {
    const files = readdirSync(folder).filter((file) => /^gpu-.*\.json$/.test(file) && !file.includes('check'));
    return files.flatMap((file) => runsIn(file, JSON.parse(readFileSync(join(folder, file), 'utf8'))));
  } catch (error) {
    throw new UserError(`${folder} can't be read: ${messageOf(error)}`);
  }
}

function runsIn(file: string, json: unknown): MeasuredRun[] {
  const machine = ['h100', 'h200'].find((name) => file.toLowerCase().includes(name));
  if (machine === undefined) return [];
  if (file.startsWith('gpu-ranks'))
    return (json as RanksFile).runs
      .filter(({ who }) => !who.includes('PyTorch'))
      .map(({ step, settings: given, ranks }) => ({
        ...{ file, machine, seconds: step / 1000, job: jobOf(given) },
        peakBytes: ranks.map(({ peakBytes }) => peakBytes),
      }));
  const { task, runs } = json as StepFile;
  const [ours] = runs as [StepFile['runs'][number]];
  const { dtype: precision, gradients = 'float32', batch: microBatchSize, seq: seqLength, ...how } = task;
  const { moments, masterWeights, recompute, deterministic } = how;
  const size = { microBatchSize, seqLength, recompute, deterministic };
  const given = { device: 'cuda', precision, gradientPrecision: gradients, moments, masterWeights, ...size };
  return [{ file, machine, seconds: ours.step / 1000, peakBytes: [ours.peakBytes], job: jobOf(given, task.config) }];
}

/** Planned seconds of a step, and the planned peak of each rank of the pipeline. */
export function plannedFor({ job, machine }: MeasuredRun): { seconds: number; peaks: number[] } {
  const parts = partsOf(job);
  const { step } = timeOf(job, MACHINES[machine] as Machine, parts);
  return { seconds: step, peaks: parts.map((part, rank) => memoryOf(job, part, rank).total) };
}

/** A line for each run: time and memory, measured and planned, and by how much the plan is off. */
export function comparison(runs: readonly MeasuredRun[]): string[] {
  const off = (planned: number, measured: number) => `${(100 * (planned / measured - 1)).toFixed(1)} %`;
  const rows = runs.map((run) => {
    const { seconds, peaks } = plannedFor(run);
    const [measured, planned] = [Math.max(...run.peakBytes), Math.max(...peaks)];
    const { dim, layers } = run.job.shape;
    const times = [run.seconds, seconds].map((time) => (1000 * time).toFixed(1));
    const bytes = [measured, planned].map(formatTraffic);
    const what = `${layers} x ${dim}, ${layoutName(run.job.config)}`;
    return [what, run.machine, ...times, off(seconds, run.seconds), ...bytes, off(planned, measured)];
  });
  return table([['layers x D, layout', 'on', 'ms', 'planned', 'off', 'memory', 'planned', 'off'], ...rows]);
}
