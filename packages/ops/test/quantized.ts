/** What the tests of quantized/ share: random packed weights, and how near two results are. */
import { keyOf, normals } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type Packed, packWeight, quantize, type WeightFormat } from '../src/index.ts';
import { inBlocks } from '../src/quantized/formats.ts';

export const FORMATS: WeightFormat[] = ['f32', 'bf16', 'q40', 'q41', 'q80'];

export const draw = (name: string, size: number, std = 1): Float32Array => normals(keyOf(7, name), 0, size, std);

export const tensorOf = (name: string, shape: number[], std = 1): Tensor =>
  tf.tensor(
    draw(
      name,
      shape.reduce((a, b) => a * b, 1),
      std,
    ),
    shape,
  );

/** The first N of nine rows: the same ones whatever N is. */
export const rowsOf = (name: string, N: number, columns: number): Tensor =>
  tf.tensor(draw(name, 9 * columns).subarray(0, N * columns), [N, columns]);

/** Bytes of a matrix of normal numbers; f32 and bf16 take any number of columns. */
export function weightBytes(format: WeightFormat, numbers: number, name = 'w'): Uint8Array {
  const padded = new Float32Array(Math.ceil(numbers / 32) * 32);
  padded.set(draw(`${name} ${numbers}`, numbers, 0.3));
  const bytes = quantize(format, padded);
  return inBlocks(format) ? bytes : bytes.subarray(0, (bytes.length / padded.length) * numbers);
}

export const weightOf = (format: WeightFormat, rows: number, columns: number, matrices = 1): Packed =>
  packWeight(format, rows, columns, weightBytes(format, matrices * rows * columns), matrices);

/** The largest difference, in parts of the largest expected number. */
export function distance(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  const [a, b] = [Array.from(actual), Array.from(expected)];
  if (a.length !== b.length) throw new Error(`${a.length} numbers, but ${b.length} were expected`);
  const most = Math.max(...b.map(Math.abs)) || 1;
  return a.reduce((worst, value, i) => {
    const error = Math.abs(value - (b[i] as number)) / most;
    return Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(worst, error);
  }, 0);
}
