/**
 * The layers' arithmetic in one op each, forward and backward: C++ that reads a row once and does everything with it
 * while it is in the processor's cache (the sources are packages/runtime/native/ops, one file a layer).
 *
 * They compute what the stock kernels compute, to rounding. `hasFusedOps(x)` tells where they can be used: float32 on
 * the CPU. The layers choose, and their stock version remains what runs everywhere else.
 */
import { attr, execute, executeMany } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';

/** [y_ND, r_N]: the normalized and scaled rows, and 1 / sqrt(mean(x²) + ε) of each. */
export const rmsNorm = (x_ND: Tensor, w_D: Tensor, epsilon: number) =>
  executeMany('FourfoldRmsNorm', [x_ND, w_D], [attr.float('epsilon', epsilon)], 2) as [Tensor, Tensor];

/** [dx_ND, dw_D]. */
export const rmsNormGrad = (dy_ND: Tensor, x_ND: Tensor, w_D: Tensor, r_N: Tensor) =>
  executeMany('FourfoldRmsNormGrad', [dy_ND, x_ND, w_D, r_N], [], 2) as [Tensor, Tensor];

export const swiglu = (gate_NF: Tensor, up_NF: Tensor): Tensor => execute('FourfoldSwiglu', [gate_NF, up_NF], []);

/** [dgate_NF, dup_NF]. */
export const swigluGrad = (dy_NF: Tensor, gate_NF: Tensor, up_NF: Tensor) =>
  executeMany('FourfoldSwigluGrad', [dy_NF, gate_NF, up_NF], [], 2) as [Tensor, Tensor];

/** x_BHTK turned by the tables, or back. */
export const rope = (x_BHTK: Tensor, cos_TK: Tensor, sin_TK: Tensor, inverse: boolean): Tensor =>
  execute('FourfoldRope', [x_BHTK, cos_TK, sin_TK], [attr.bool('inverse', inverse)]);

/** Softmax over the last axis of scores [M, t, s], where row i of the t sees only the first start + i + 1. */
export const causalSoftmax = (scores: Tensor, start: number): Tensor =>
  execute('FourfoldCausalSoftmax', [scores], [attr.int('start', start)]);

/** p · (dp - Σ p · dp), along the last axis. */
export const causalSoftmaxGrad = (p: Tensor, dp: Tensor, start: number): Tensor =>
  execute('FourfoldCausalSoftmaxGrad', [p, dp], [attr.int('start', start)]);
