/**
 * The layers' arithmetic in one op each, forward and backward: C++ that reads a row once and does everything with it
 * while it is in the processor's cache (the sources are packages/runtime/native/ops, one file a layer), and the same
 * for a GPU (native/cuda).
 *
 * They compute what the stock kernels compute, to rounding. `hasFusedOps(x)` tells where they can be used. The layers
 * choose, and their stock version remains what runs everywhere else.
 *
 * All tensors of an op are of one dtype, but for what is float32 in any case: r, lse, RoPE's tables, and dw.
 */
import { attr, dtypeOf, execute, executeMany, executeView, executeViews } from '@fourfold/runtime';
import { ofDType } from '@fourfold/runtime/shapes';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { AttentionSaved } from './attention-block.ts';

const T = ofDType((t) => [attr.type('T', t)]);

/** [y_ND, r_N]: the normalized and scaled rows, and 1 / sqrt(mean(x²) + ε) of each. */
export const rmsNorm = (x_ND: Tensor, w_D: Tensor, epsilon: number) =>
  executeMany('FourfoldRmsNorm', [x_ND, w_D], [...T[dtypeOf(x_ND)], attr.float('epsilon', epsilon)], 2) as [
    Tensor,
    Tensor,
  ];

/** [dx_ND, dw_D]; to dx is added what `onto_ND` is. */
export function rmsNormGrad(dy_ND: Tensor, x_ND: Tensor, w_D: Tensor, r_N: Tensor, onto_ND?: Tensor) {
  const onto = onto_ND ? [onto_ND] : [];
  const attributes = [...T[dtypeOf(x_ND)], attr.int('M', onto.length)];
  return executeMany('FourfoldRmsNormGrad', [dy_ND, x_ND, w_D, r_N, ...onto], attributes, 2) as [Tensor, Tensor];
}

export const swiglu = (gate_NF: Tensor, up_NF: Tensor): Tensor =>
  execute('FourfoldSwiglu', [gate_NF, up_NF], T[dtypeOf(gate_NF)]);

/** [dgate_NF, dup_NF]. */
export const swigluGrad = (dy_NF: Tensor, gate_NF: Tensor, up_NF: Tensor) =>
  executeMany('FourfoldSwigluGrad', [dy_NF, gate_NF, up_NF], T[dtypeOf(gate_NF)], 2) as [Tensor, Tensor];

/** q_BTHK and k_BTGK turned by the tables, or back. */
export function rope(q_BTHK: Tensor, k_BTGK: Tensor, cos_TK: Tensor, sin_TK: Tensor, inverse: boolean) {
  const attributes = [...T[dtypeOf(q_BTHK)], attr.bool('inverse', inverse)];
  return executeMany('FourfoldRope', [q_BTHK, k_BTGK, cos_TK, sin_TK], attributes, 2) as [Tensor, Tensor];
}

export interface AttentionForm {
  /** Whether query i sees keys 0 to i alone. */
  readonly causal: boolean;
  /** By what the products of queries and keys are multiplied. */
  readonly scale: number;
}
const formOf = (q: Tensor, { causal, scale }: AttentionForm) => [
  ...T[dtypeOf(q)],
  attr.bool('causal', causal),
  attr.float('scale', scale),
];

/** [o_BTHK, lse_BHT] of queries over a block of keys and values (see attention-block.ts). */
export const attention = (q_BTHK: Tensor, k_BSGK: Tensor, v_BSGK: Tensor, form: AttentionForm) =>
  executeMany('FourfoldAttention', [q_BTHK, k_BSGK, v_BSGK], formOf(q_BTHK, form), 2) as [Tensor, Tensor];

/** [dq_BTHK, dk_BSGK, dv_BSGK]. */
export function attentionGrad({ dO, q, k, v, o, lse }: AttentionSaved, form: AttentionForm) {
  return executeMany('FourfoldAttentionGrad', [dO, q, k, v, o, lse], formOf(q, form), 3) as [Tensor, Tensor, Tensor];
}

/** [losses_C, dlogits_CV], the latter times `weight`, written over the logits; an empty tensor without gradients. */
export function crossEntropy(logits_CV: Tensor, targets_C: Tensor, gradients: boolean, weight: number) {
  const attributes = [...T[dtypeOf(logits_CV)], attr.bool('gradients', gradients), attr.float('weight', weight)];
  const viewed = [undefined, gradients ? logits_CV : undefined];
  return executeViews('FourfoldCrossEntropy', [logits_CV, targets_C], attributes, viewed) as [Tensor, Tensor];
}

/**
 * grad_VD with the rows of dx_ND added to rows ids_N, in its own memory: grad_VD itself has changed (and on the CPU the
 * array of JavaScript's that it was made of, if it was).
 */
export const embeddingGrad = (dx_ND: Tensor, ids_N: Tensor, grad_VD: Tensor): Tensor =>
  executeView('FourfoldEmbeddingGrad', [dx_ND, ids_N, grad_VD], T[dtypeOf(dx_ND)], grad_VD);
