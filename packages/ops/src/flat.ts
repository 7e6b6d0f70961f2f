/**
 * Parameters end to end, as one tensor of one dimension: what travels together, is updated together, is cut in parts
 * that don't know of parameters.
 *
 *     a [2, 3]  b [4]     ->     a0 a1 a2 a3 a4 a5 b0 b1 b2 b3 (0 0)
 */
import { cast, dtypeOf, zeros } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { concat, reshape, slice } from './kernels.ts';
import type { Parameter, Range } from './parameter.ts';

/** Tensors of one dtype end to end, with zeros behind them up to `size` elements: a new tensor, [size]. */
export const flatten = (tensors: readonly Tensor[], size: number): Tensor =>
  tf.tidy(() => {
    const pieces = tensors.map((x) => reshape(x, [-1]));
    const padding = size - pieces.reduce((sum, piece) => sum + piece.size, 0);
    if (padding > 0) pieces.push(cast(zeros([padding]), dtypeOf(pieces[0] as Tensor)));
    return concat(pieces, 0);
  });

/** The way back: new tensors of these shapes, of what `flat` begins with. It stays the caller's. */
export function unflatten(flat: Tensor, shapes: readonly (readonly number[])[]): Tensor[] {
  let start = 0;
  return shapes.map((shape) => {
    const [from, length] = [start, sizeOf(shape)];
    start += length;
    return tf.tidy(() => reshape(slice(flat, 0, from, length), [...shape]));
  });
}

/** Which elements of which parameters are the `length` ones from `begin` on: what a checkpoint has to know. */
export function rangesIn(parameters: readonly Parameter[], begin: number, length: number): Range[] {
  let start = 0;
  return parameters.flatMap((of) => {
    const [from, to] = [Math.max(begin - start, 0), Math.min(begin + length - start, sizeOf(of.shape))];
    const at = start + from - begin;
    start += sizeOf(of.shape);
    return from < to ? [{ of, from, to, at }] : [];
  });
}

/** What of the model's parameters a parameter is made of: all of itself, unless it's ZeRO's. */
export const rangesOf = (parameter: Parameter): readonly Range[] =>
  parameter.ranges ?? [{ of: parameter, from: 0, to: sizeOf(parameter.shape), at: 0 }];

/** How many elements a tensor of this shape has. */
export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, side) => product * side, 1);
