/**
 * How far one loss curve is from another that should be the same: what bench:precision says of a precision.
 *
 *     distanceOf(losses, reference)        { mean: 0.003, largest: 0.024, at: 23, windows: 0.0024, ... }
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
  /** The largest of the windows' means, and the first step of that window. */
  readonly windows: number;
  readonly from: number;
  /** Of the last steps' mean. */
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

/** Of a value among others, a NaN's too. */
const placeOf = (values: readonly number[], value: number): number => values.findIndex((one) => Object.is(one, value));

/** Both runs have as many steps, and CURVE.window at least. */
export function distanceOf(losses: readonly number[], reference: readonly number[]): Distance {
  const apart = relativeDifferences(losses, reference);
  const largest = Math.max(...apart);
  const each = relativeDifferences(windowsOf(losses), windowsOf(reference));
  const windows = Math.max(...each);
  const [end = Number.NaN] = relativeDifferences([endOf(losses)], [endOf(reference)]);
  return {
    mean: meanOf(apart),
    largest,
    at: 1 + placeOf(apart, largest),
    windows,
    from: 1 + CURVE.window * placeOf(each, windows),
    end,
  };
}

/** Whether the curve is the reference's, within the limit; if not, where it is furthest from it. */
export function verdictOf({ windows, from, end }: Distance): string {
  if (!(windows <= CURVE.limit)) return `no: steps ${from} to ${from + CURVE.window - 1}`;
  return end <= CURVE.limit ? 'yes' : 'no: the end';
}
