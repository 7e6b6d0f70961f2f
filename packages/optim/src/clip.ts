/**
 * Clipping by global norm: where the gradient of all parameters together is longer than `limit`, all are shortened by
 * one factor, so that a bad batch changes how far a step goes but not where to.
 *
 * Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013).
 */
import { kernels, type Parameter } from '@fourfold/ops';
import { attr, execute, onTensorflow } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Σ g² of every parameter that has a gradient: a 0-d tensor, still on the device. Of a parameter that several ranks
 * hold, this rank counts its part alone, so that the sum over ranks counts it once.
 */
export function squaredNorm(parameters: readonly Parameter[]): Tensor {
  return tf.tidy(() => {
    const sums = parameters.flatMap(({ grad, replicas }) =>
      grad ? [kernels.scale(sumOfSquares(grad), 1 / replicas)] : [],
    );
    return sums.length > 0 ? (tf.addN(sums) as Tensor) : tf.scalar(0);
  });
}

// TensorFlow's L2Loss is Σ g² / 2, in one pass.
const sumOfSquares = (grad: Tensor): Tensor =>
  onTensorflow() ? tf.mul(execute('L2Loss', [grad], [attr.type('T', 'float32')]), 2) : tf.sum(tf.square(grad));

/** What to multiply gradients of this norm by: 1, or limit / norm where that is less. A limit of 0 means none. */
export const clipFactor = (norm: number, limit: number): number => (limit > 0 && norm > limit ? limit / norm : 1);
