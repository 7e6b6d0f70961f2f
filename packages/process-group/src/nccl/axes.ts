/**
 * NCCL cuts and joins what lies together in memory: parts along axis 0. These put a tensor's parts along another axis
 * there and back, each with one transposition on the GPU. Along axis 0 nothing is copied.
 *
 *     [A, n·D, B]  reshape  [A, n, D, B]  transpose  [n, A, D, B]      partsFirst, and the other way round partsBack
 */
import { reshape, transpose } from '@fourfold/runtime/shapes';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

/** 0, 1, ... count - 1. */
const places = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** The order of axes that puts `axis` first. */
const toFront = (rank: number, axis: number): number[] => [axis, ...places(rank).filter((i) => i !== axis)];

/** The order that puts the first axis at place `axis`. */
const fromFront = (rank: number, axis: number): number[] =>
  places(rank - 1)
    .map((i) => i + 1)
    .toSpliced(axis, 0, 0);

/** x [A, S, B] as [S, A, B], where S is the length of `axis`. */
export const axisFirst = (x: Tensor, axis: number): Tensor => transpose(x, toFront(x.rank, axis));

/** The other way round. */
export const axisBack = (x: Tensor, axis: number): Tensor => transpose(x, fromFront(x.rank, axis));

/** x [A, n·D, B], `axis` being the middle one, as [n, A, D, B]. */
export function partsFirst(x: Tensor, axis: number, n: number): Tensor {
  const cut = x.shape.toSpliced(axis, 1, n, (x.shape[axis] as number) / n);
  return tf.tidy(() => axisFirst(reshape(x, cut), axis));
}

/** y [n, A, D, B] as [A, n·D, B]. */
export function partsBack(y: Tensor, axis: number): Tensor {
  const [n = 1, ...part] = y.shape;
  return tf.tidy(() => reshape(axisBack(y, axis), part.with(axis, n * (part[axis] as number))));
}
