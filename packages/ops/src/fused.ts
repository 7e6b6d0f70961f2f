/**
 * The layers' arithmetic in one op each, forward and backward: C++ that reads a row once and does everything with it
 * while it is in the processor's cache (the sources are packages/runtime/native/ops, one file a layer).
 *
 * They compute what the stock kernels compute, to rounding. `hasFusedOps(x)` tells where they can be used: float32 on
 * the CPU. The layers choose, and their stock version remains what runs everywhere else.
 */
import { attr, execute, executeMany } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { AttentionBlockSaved } from './attention-block.ts';

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

/** [o_BHTK, lse_BHT1] of scaled queries over a block of keys and values (see attention-block.ts). */
export const attention = (q_BHTK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, causal: boolean) =>
  executeMany('FourfoldAttention', [q_BHTK, k_BGSK, v_BGSK], [attr.bool('causal', causal)], 2) as [Tensor, Tensor];

/** [dq_BHTK (by the scaled q), dk_BGSK, dv_BGSK]. */
export function attentionGrad(saved: AttentionBlockSaved, causal: boolean) {
  const { q_BHTK, k_BGSK, v_BGSK, do_BHTK, lse_BHT1, D_BHT1 } = saved;
  const tensors = [q_BHTK, k_BGSK, v_BGSK, do_BHTK, lse_BHT1, D_BHT1];
  return executeMany('FourfoldAttentionGrad', tensors, [attr.bool('causal', causal)], 3) as [Tensor, Tensor, Tensor];
}
