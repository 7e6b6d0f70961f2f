/**
 * What the tests of the fused ops share: random inputs, and comparisons with the same equations in float64.
 */
import { keyOf, normals, read } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';

/**
 * In 400 shapes of each test the worst was 7e-7, for a dw: 64 rows summed one after the other in float32.
 */
const TOLERANCE = 1e-6;

/** An input: its values in float32, and its shape. */
export interface Input {
  readonly values: Float32Array;
  readonly shape: number[];
}
export type Values = ArrayLike<number>;

const size = (shape: readonly number[]): number => shape.reduce((product, side) => product * side, 1);
export const random = (name: string, shape: number[], std = 1): Input => ({
  values: normals(keyOf(1, `${name} ${shape}`), 0, size(shape), std),
  shape,
});
export const at = (values: Values, i: number): number => values[i] as number;
/** A float64 array of this length whose element i is f(i). */
export const fill = (length: number, f: (i: number) => number): Float64Array =>
  Float64Array.from({ length }, (_, i) => f(i));
export const sumOf = (length: number, f: (i: number) => number): number =>
  fill(length, f).reduce((sum, x) => sum + x, 0);

/** Runs `op` on tensors of these inputs and reads what it gives; frees all, and finds anything left over. */
export async function run(op: (...inputs: Tensor[]) => Tensor | Tensor[], ...inputs: Input[]): Promise<Values[]> {
  return expectNoLeak(async () => {
    const tensors = inputs.map(({ values, shape }) => tf.tensor(values, shape, 'float32'));
    const results = [op(...(tensors as [Tensor]))].flat();
    const values = await Promise.all(results.map(read));
    tf.dispose([...tensors, ...results]);
    return values;
  });
}

/**
 * Fails unless no element is further off than TOLERANCE of the largest of `sizes`. Those are the expected values, save
 * where numbers that are added up may nearly cancel: then `sizes` tells how large such numbers are.
 */
export function expectValues(actual: Values[], expected: Values[], sizes = expected): void {
  const errors = expected.map((values, i) => {
    const scale = largest(sizes[i] as Values);
    return largest(fill(values.length, (j) => at(actual[i] as Values, j) - at(values, j))) / (scale || 1);
  });
  expect(actual.map((values) => values.length)).toEqual(expected.map((values) => values.length));
  for (const error of errors) expect(error, `errors ${errors}`).toBeLessThanOrEqual(TOLERANCE); // NaN fails too
}
export const largest = (values: Values): number => Math.max(...Array.from(values, Math.abs));

/** Where in the array NaN stands. */
export const placesOfNaN = (values?: Values): number[] =>
  Array.from(values ?? []).flatMap((x, i) => (Number.isNaN(x) ? [i] : []));
/** first, first + 1, ..., last - 1. */
export const range = (first: number, last: number): number[] =>
  Array.from({ length: last - first }, (_, i) => first + i);

/** [losses, dlogits] of targets, the latter times a weight. */
export function lossInFloat64({ values, shape }: Input, targets: number[], weight: number): [Values, Values] {
  const [C, V] = shape as [number, number];
  const row = (c: number) => fill(V, (v) => at(values, c * V + v));
  const most = fill(C, (c) => Math.max(...row(c)));
  const sums = fill(C, (c) => row(c).reduce((sum, x) => sum + Math.exp(x - at(most, c)), 0));
  const losses = fill(C, (c) => Math.log(at(sums, c)) - (at(row(c), targets[c] as number) - at(most, c)));
  const dlogits = fill(C * V, (i) => {
    const [c, v] = [Math.floor(i / V), i % V];
    const p = Math.exp(at(values, i) - at(most, c)) / at(sums, c);
    return weight * (p - (v === targets[c] ? 1 : 0));
  });
  return [losses, dlogits];
}
