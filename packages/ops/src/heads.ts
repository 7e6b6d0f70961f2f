/**
 * Between [N, H·K], where linear layers work, and [B, H, T, K], where attention does: only the order in memory changes,
 * so backward is the way back.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { reshape, transpose } from './kernels.ts';
import { type Layer, pullback } from './layer.ts';

/** x_ND to [B, H, T, K], for B sequences of T tokens (N = B·T) and heads of K dimensions. */
export const splitHeads =
  (B: number, T: number, K: number): Layer =>
  async (x_ND) => [toHeads(x_ND, B, T, K), pullback([], fromHeads)];

/** x_BHTK to [N, H·K]. */
export const mergeHeads: Layer = async (x_BHTK) => {
  const [B, , T, K] = x_BHTK.shape as [number, number, number, number];
  return [fromHeads(x_BHTK), pullback([], (dy_ND: Tensor) => toHeads(dy_ND, B, T, K))];
};

const toHeads = (x_ND: Tensor, B: number, T: number, K: number): Tensor =>
  tf.tidy(() => transpose(reshape(x_ND, [B, T, -1, K]), [0, 2, 1, 3]));

function fromHeads(x_BHTK: Tensor): Tensor {
  const [B, H, T, K] = x_BHTK.shape as [number, number, number, number];
  return tf.tidy(() => reshape(transpose(x_BHTK, [0, 2, 1, 3]), [B * T, H * K]));
}
