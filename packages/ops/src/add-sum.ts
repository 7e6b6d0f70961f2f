/**
 * The two smallest layers, each the other's backward: adding gives the same gradient to both sides, and what is given
 * to many places comes back as a sum.
 *
 *   y = a + b      da = db = dy
 *   y = Σ x        dx = dy at every place
 */
import { cast, dtypeOf, zeros } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import * as kernels from './kernels.ts';
import { type Layer, pullback } from './layer.ts';

/** [a, b] of one shape and dtype to a + b. */
export const add: Layer<readonly Tensor[]> = async (terms) => {
  const [a, b] = terms as [Tensor, Tensor];
  const backward = (dy: Tensor): readonly Tensor[] => [kernels.share(dy), kernels.share(dy)];
  return [kernels.add(a, b), pullback([], backward)];
};

/** x of any shape to the 0-d sum of its elements. */
export const sum: Layer = async (x) => {
  const [shape, dtype] = [x.shape, dtypeOf(x)];
  const y = tf.tidy(() => kernels.sum(kernels.reshape(x, [x.size]), 0));
  const backward = (dy: Tensor) => tf.tidy(() => kernels.add(cast(zeros(shape), dtype), dy));
  return [y, pullback([], backward)];
};
