/**
 * Clipping by global norm: where the gradient of all parameters together is longer than `limit`, all are shortened by
 * one factor, so that a bad batch changes how far a step goes but not where to.
 *
 * Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013).
 */
import { kernels, type Parameter } from '@fourfold/ops';
import { attr, type DType, dtypeOf, execute, hostFloats, onTensorflow, zeros } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Σ g² of every parameter that has a gradient: a 0-d tensor, the caller's, still on the device. Of a parameter that
 * several ranks hold, this rank counts its part alone, so that the sum over ranks counts it once.
 */
export function squaredNorm(parameters: readonly Parameter[]): Tensor {
  const counted = parameters.filter(({ grad }) => grad);
  const grads = counted.map(({ grad }) => grad as Tensor);
  const shares = counted.map(({ replicas }) => 1 / replicas);
  return tf.tidy(() => {
    if (grads.length === 0) return zeros([]);
    if (onTensorflow()) return fusedSum(grads, shares);
    const sums = grads.map((grad, i): Tensor => kernels.scale(tf.sum(tf.square(grad)), shares[i] as number));
    return sums.reduce((a, b) => tf.add(a, b)); // tf.addN gives a WebGPU kernel all of them, and it may have eight
  });
}

/** One op for the gradients of each dtype that there are. */
function fusedSum(grads: readonly Tensor[], shares: readonly number[]): Tensor {
  const sumOf = (dtype: DType): Tensor[] => {
    const own = [...grads.keys()].filter((i) => dtypeOf(grads[i] as Tensor) === dtype);
    if (own.length === 0) return [];
    const inputs = [...own.map((i) => grads[i] as Tensor), hostFloats(own.map((i) => shares[i] as number))];
    return [execute('FourfoldSquaredNorm', inputs, [attr.int('N', own.length), attr.type('G', dtype)])];
  };
  return [...sumOf('float32'), ...sumOf('bfloat16')].reduce((a, b) => kernels.add(a, b));
}

/** What to multiply gradients of this norm by: 1, or limit / norm where that is less. A limit of 0 means none. */
export const clipFactor = (norm: number, limit: number): number => (limit > 0 && norm > limit ? limit / norm : 1);

/** The same of the norm's square, both on the device: reading would wait, and a GPU in a web page can't at all. */
export const clipFactorOf = (squares: Tensor, limit: number): Tensor =>
  tf.tidy(() => {
    const norm = tf.sqrt(squares);
    return tf.where(tf.greater(norm, limit), tf.div(limit, norm), 1);
  });
