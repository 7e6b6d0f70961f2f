/**
 * How much of a step's communication was hidden behind computing, on each rank's GPU.
 *
 *     compute     [ backward ][ backward ]              [ AdamW ]
 *     dpCp                [ allReduce ][   allReduce   ]
 *                         |<-- hidden -->|<- exposed ->|            nothing computes meanwhile
 *
 * Exposed is what overlap could still save. A collective has in it how long the first rank waits for the last one. And
 * where the host is too slow for the GPU, as with small models, an op's time has its starting in it (device-times.ts of
 * the runtime): such ops seem to hide more than their kernels do.
 */
import { COMPUTE, type DeviceSpan, type DeviceTrace } from '@fourfold/process-group';
import { type Interval, lengthOf, union, without } from './intervals.ts';
import { milliseconds, wrapped } from './traffic-report.ts';

/** Milliseconds of a step. */
export interface DeviceShares {
  /** From a GPU that had nothing to do to its last op's or collective's end. */
  readonly whole: number;
  /** For which ops ran. */
  readonly compute: number;
  /** For which collectives ran, of any group. */
  readonly communication: number;
  /** For which collectives ran and nothing computed. */
  readonly exposed: number;
  /** For which a group's collectives ran and nothing computed. */
  readonly exposedBy: Readonly<Record<string, number>>;
}

/** Those of one trace. */
export function deviceShares({ spans }: DeviceTrace): DeviceShares {
  const busy = busyOf(spans);
  const calls = spans.filter((span) => !isComputing(span));
  const exposed = (some: readonly DeviceSpan[]) => lengthOf(without(union(some), busy));
  const groups = [...new Set(calls.map(({ track }) => track))];
  return {
    whole: spans.reduce((last, { end }) => Math.max(last, end), 0),
    compute: lengthOf(union(spans.filter(isComputing))),
    communication: lengthOf(union(calls)),
    exposed: exposed(calls),
    exposedBy: Object.fromEntries(
      groups.map((group) => [group, exposed(calls.filter(({ track }) => track === group))]),
    ),
  };
}

/**
 * When a GPU computes. From one kernel to the next pass a microsecond or two, with the marks between them: a gap of at
 * most 5 us is no time in which it waited for anything.
 */
export const busyOf = (spans: readonly DeviceSpan[]): Interval[] => union(spans.filter(isComputing), 0.005);

/** Whether the span is a kernel that computes, and no collective. */
export const isComputing = ({ track }: DeviceSpan): boolean => track === COMPUTE;

/** What ranks' GPUs did in a step: the mean of those traced, and of all ranks the least and most. No GPU, no line. */
export function deviceReport(ranks: readonly { readonly device?: readonly DeviceTrace[] }[]): string[] {
  const steps = ranks.flatMap(({ device = [] }) => (device.length > 0 ? [device.map(deviceShares)] : []));
  if (steps.length === 0) return [];
  const means = (pick: (shares: DeviceShares) => number) =>
    steps.map((shares) => shares.reduce((sum, one) => sum + pick(one), 0) / shares.length);
  const whole = means((shares) => shares.whole);
  const item = (name: string, pick: (shares: DeviceShares) => number) => {
    const times = means(pick);
    return `${name} ${milliseconds(times)} (${percents(times.map((time, i) => time / (whole[i] || 1)))})`;
  };
  const groups = [...new Set(steps.flat().flatMap(({ exposedBy }) => Object.keys(exposedBy)))];
  return wrapped('GPU time     ', [
    `${milliseconds(whole)} a step`,
    item('compute', ({ compute }) => compute),
    item('communication', ({ communication }) => communication),
    item('exposed', ({ exposed }) => exposed),
    ...(groups.length > 1 ? groups.map((group) => item(`in ${group}`, ({ exposedBy }) => exposedBy[group] ?? 0)) : []),
  ]);
}

/** The least and most of some shares: '4.9-5.0%', and '5.0%' where all are that. */
function percents(shares: readonly number[]): string {
  const [least, most] = [Math.min(...shares), Math.max(...shares)].map((share) => (100 * share).toFixed(1));
  return least === most ? `${most}%` : `${least}-${most}%`;
}
