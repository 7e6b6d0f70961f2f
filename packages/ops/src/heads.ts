/**
 * Between [N, H·K], where linear layers work, and [B, T, H, K], where attention does: the same numbers in the same
 * order, so that neither way costs anything, and backward is the way back.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { reshape } from './kernels.ts';
import { type Layer, pullback } from './layer.ts';

/** x_ND to [B, T, H, K], for B sequences of T tokens (N = B·T) and heads of K dimensions. */
export const splitHeads =
  (B: number, T: number, K: number): Layer =>
  async (x_ND) => [reshape(x_ND, [B, T, -1, K]), pullback([], fromHeads)];

/** x_BTHK to [N, H·K]. */
export const mergeHeads: Layer = async (x_BTHK) => {
  const { shape } = x_BTHK;
  return [fromHeads(x_BTHK), pullback([], (dy_ND: Tensor) => reshape(dy_ND, shape))];
};

/** [B, T, H, K] to [N, H·K]: the same memory. */
function fromHeads(x_BTHK: Tensor): Tensor {
  const [B, T, H, K] = x_BTHK.shape as [number, number, number, number];
  return reshape(x_BTHK, [B * T, H * K]);
}
