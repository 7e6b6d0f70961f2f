/**
 * How far one loss curve is from another that should be the same: what bench:precision says of a precision.
 *
 *     distanceOf(losses, reference)        { mean: 0.003, largest: 0.024, at: 23, windows: 0.0024, end: 0.0003 }
 *
 * Differences of single steps tell of noise, those of means over windows of steps of the curve.
 */
import { relativeDifferences } from '@fourfold/metrics';

/** Steps of a window of the curve, and of its end; how far both may be from the reference, in parts of it. */
export const CURVE = { window: 10, end: 20, limit: 0.01 };

/** In parts of the reference. */
export interface Distance {
  /** Over all steps. */
  readonly mean: number;
  readonly largest: number;
  /** The step, from 1, of the largest. */
  readonly at: number;
  /** The largest of the windows' means, and that of the last steps' mean. */
  readonly windows: number;
  readonly end: number;
}

const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Means over windows side by side; steps at the end that fill none are left to the end's mean. */
const windowsOf = (losses: readonly number[]): number[] =>
  Array.from({ length: Math.floor(losses.length / CURVE.window) }, (_, i) =>
    meanOf(losses.slice(i * CURVE.window, (i + 1) * CURVE.window)),
  );

/** The mean of the last steps. */
export const endOf = (losses: readonly number[]): number => meanOf(losses.slice(-CURVE.end));

/** Both runs have as many steps, and CURVE.window at least. */
export function distanceOf(losses: readonly number[], reference: readonly number[]): Distance {
  const apart = relativeDifferences(losses, reference);
  const largest = Math.max(...apart);
  const windows = Math.max(...relativeDifferences(windowsOf(losses), windowsOf(reference)));
  const [end = Number.NaN] = relativeDifferences([endOf(losses)], [endOf(reference)]);
  return { mean: meanOf(apart), largest, at: 1 + apart.indexOf(largest), windows, end };
}

/** Whether the curve is the reference's, within the limit. */
export const isWithin = ({ windows, end }: Distance): boolean => windows <= CURVE.limit && end <= CURVE.limit;
