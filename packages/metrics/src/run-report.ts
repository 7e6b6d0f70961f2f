/**
 * What is left of a run on several ranks when it has ended: the table of its traffic, memory and bubble, and with a
 * trace two files, what each rank did for Perfetto and the pipeline's schedule as a picture. With NCCL the trace has
 * what the GPUs did too; a third file shows communication beside computing, and a line says how much of it is exposed.
 */
import { writeFileSync } from 'node:fs';
import type { Mesh } from '@fourfold/process-group';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { chromeTrace, plainCall, type TracedRank } from './chrome-trace.ts';
import { deviceReport } from './device-report.ts';
import { deviceTimeline } from './device-timeline.ts';
import { type ScheduleCell, schedulePicture } from './schedule-picture.ts';
import { type RankReport, trafficReport } from './traffic-report.ts';

/** What one rank tells of itself, as JSON can carry it. */
export interface RankRun extends Omit<RankReport, 'bubble'>, TracedRank {
  /** Ranks with the same name are stages of one pipeline: 'dp0 cp0 tp0'. */
  readonly pipeline: string;
  /** What it did in the last step: start and end in milliseconds since 1970, and the tick in the pipeline's clock. */
  readonly ran: readonly (ScheduleCell & { readonly tick: number })[];
}

/** That of this rank, from its place and its recorder. */
export function rankRun(
  { world, label, coordinates: { dp, cp, tp } }: Mesh,
  measured: Pick<RankRun, 'predicted' | 'peakBytes' | 'ran'>,
): RankRun {
  const { trace = [], spans = [], device = [] } = world.recorder;
  const totals = world.recorder.totals().map((one) => ({ ...one }));
  const pipeline = `dp${dp} cp${cp} tp${tp}`;
  return { ...measured, rank: world.rank, label, totals, pipeline, calls: trace.map(plainCall), spans, device };
}

/** What the report needs beside the ranks' own figures. */
export interface RunReportOptions {
  /** Of the pictures. */
  readonly title: string;
  /** How many steps the totals are of. */
  readonly steps: number;
  /** The ranks are coroutines of one process: only one can compute at a time, so a bubble is counted in ticks. */
  readonly oneProcess: boolean;
  /** The share of a step, 0 to 1, for which a pipeline's rank should be idle. */
  readonly bubble: number;
  /** File for the trace, 'run.json'; the pictures go beside it, 'run.svg' and 'run.gpu.svg'. */
  readonly trace?: string | undefined;
}

/** The report as text. Writes the files if asked to; throws UserError where they can't be written. */
export function runReport(runs: readonly RankRun[], options: RunReportOptions): string {
  const { steps, oneProcess, bubble, trace } = options;
  const unit = oneProcess ? 'ticks' : 'milliseconds';
  const reports = runs.map((run) => {
    const pipeline = runs.filter(({ pipeline }) => pipeline === run.pipeline);
    if (pipeline.length === 1) return run;
    return { ...run, bubble: { measured: idleOf(run, pipeline, oneProcess), predicted: bubble } };
  });
  const lines = [trafficReport(reports, { steps, sharedMemory: oneProcess }), ...deviceReport(runs)];
  if (trace) {
    const picture = trace.replace(/(\.json)?$/, '.svg');
    write(trace, chromeTrace(runs));
    write(picture, schedule(runs, options, unit));
    const gpus = drawGpus(runs, `${options.title}: GPUs in the last step`, trace);
    const files = [`schedule in ${picture}`, ...(gpus ? [`GPUs in ${gpus}`] : [])].join(', ');
    lines.push(`Trace of the last steps in ${trace} (open it with https://ui.perfetto.dev), ${files}`);
  }
  return lines.join('\n');
}

/** Draws, beside the trace, what the first ranks' GPUs did in its last step; returns the file, if a GPU was traced. */
export function drawGpus(traced: readonly TracedRank[], title: string, trace: string): string | undefined {
  const ranks = traced.slice(0, MOST_GPUS).flatMap(({ rank, label, device = [] }) => {
    const last = device.at(-1);
    return last ? [{ label: label || `rank ${rank}`, trace: last }] : [];
  });
  if (ranks.length === 0) return undefined;
  const picture = trace.replace(/(\.json)?$/, '.gpu.svg');
  write(picture, deviceTimeline({ title, ranks }));
  return picture;
}

/** As many fit on a screen. */
const MOST_GPUS = 8;

/** The cells of a rank as the report counts them. */
const cellsOf = ({ ran }: RankRun, inTicks: boolean): ScheduleCell[] =>
  inTicks ? ran.map((cell) => ({ ...cell, start: cell.tick, end: cell.tick + 1 })) : [...ran];

/** The share of the whole pipeline's time in which this rank did nothing. */
function idleOf(run: RankRun, pipeline: readonly RankRun[], inTicks: boolean): number {
  const all = pipeline.flatMap((one) => cellsOf(one, inTicks));
  const span = Math.max(...all.map(({ end }) => end)) - Math.min(...all.map(({ start }) => start));
  const busy = cellsOf(run, inTicks).reduce((sum, { start, end }) => sum + end - start, 0);
  return 1 - busy / span;
}

/** The first pipeline's schedule. */
function schedule(runs: readonly RankRun[], { title }: RunReportOptions, unit: 'ticks' | 'milliseconds'): string {
  const stages = runs.filter(({ pipeline }) => pipeline === runs[0]?.pipeline);
  const ranks = stages.map((run, i) => ({ label: `pp${i}`, cells: cellsOf(run, unit === 'ticks') }));
  return schedulePicture({ title, unit, ranks });
}

function write(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw new UserError(`${path} can't be written: ${messageOf(error)}`);
  }
}
