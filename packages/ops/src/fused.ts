/**
 * The layers' arithmetic in one op each, forward and backward: C++ that reads a row once and does everything with it
 * while it is in the processor's cache (the sources are packages/runtime/native/ops, one file a layer), and the same
 * for a GPU (native/cuda).
 *
 * They compute what the stock kernels compute, to rounding. `hasFusedOps(x)` tells where they can be used. The layers
 * choose, and their stock version remains what runs everywhere else.
 *
 * All tensors of an op are of one dtype, but for what is float32 in any case: r, lse, RoPE's tables, losses and what
 * they are made of, and the gradients of weights.
 */
import { attr, dtypeOf, execute, executeMany, executeView, executeViews } from '@fourfold/runtime';
import { ofDType } from '@fourfold/runtime/shapes';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { AttentionSaved } from './attention-block.ts';
import type { Words } from './embedding.ts';
import type { Attention } from './merge.ts';
import type { SplitLossOptions } from './split-softmax.ts';

const T = ofDType((t) => [attr.type('T', t)]);

/** [y_ND, r_N]: the normalized and scaled rows, and 1 / sqrt(mean(x²) + ε) of each. */
export const rmsNorm = (x_ND: Tensor, w_D: Tensor, epsilon: number) =>
  executeMany('FourfoldRmsNorm', [x_ND, w_D], [...T[dtypeOf(x_ND)], attr.float('epsilon', epsilon)], 2) as [
    Tensor,
    Tensor,
  ];

/** [dx_ND, dw_D], dw in float32; to dx is added what `onto_ND` is. */
export function rmsNormGrad(dy_ND: Tensor, x_ND: Tensor, w_D: Tensor, r_N: Tensor, onto_ND?: Tensor) {
  const onto = onto_ND ? [onto_ND] : [];
  const attributes = [...T[dtypeOf(x_ND)], attr.int('M', onto.length)];
  return executeMany('FourfoldRmsNormGrad', [dy_ND, x_ND, w_D, r_N, ...onto], attributes, 2) as [Tensor, Tensor];
}

/** y_NF of x_N2F, gate and up beside one another. */
export const swiglu = (x_N2F: Tensor): Tensor => execute('FourfoldSwiglu', [x_N2F], T[dtypeOf(x_N2F)]);

/** dx_N2F. */
export const swigluGrad = (dy_NF: Tensor, x_N2F: Tensor): Tensor =>
  execute('FourfoldSwigluGrad', [dy_NF, x_N2F], T[dtypeOf(x_N2F)]);

/** How heads turn. */
export interface RopeForm {
  /** How many of the J heads turn, the first ones. */
  readonly turned: number;
  /** Whether they turn back. */
  readonly inverse: boolean;
  /** Whether the result is written over x, in its own memory (default false). */
  readonly inPlace?: boolean;
}

/** x_BTJK turned by the tables. */
export function rope(x_BTJK: Tensor, cos_TK: Tensor, sin_TK: Tensor, form: RopeForm): Tensor {
  const { turned, inverse, inPlace = false } = form;
  const flags = [attr.bool('inverse', inverse), attr.bool('in_place', inPlace)];
  const attributes = [...T[dtypeOf(x_BTJK)], attr.int('turned', turned), ...flags];
  const run = inPlace ? executeView : execute;
  return run('FourfoldRope', [x_BTJK, cos_TK, sin_TK], attributes);
}

/** q_BTHK, k_BSGK and v_BSGK, or one tensor that has them as heads in this order. */
export type Qkv = readonly [q: Tensor, k: Tensor, v: Tensor] | readonly [qkv_BTJK: Tensor];

/** How attention is computed, forward and backward alike. */
export interface AttentionForm {
  /** Whether query i sees keys 0 to i alone. */
  readonly causal: boolean;
  /** By what the products of queries and keys are multiplied. */
  readonly scale: number;
  /** G of J = H + 2G, where q, k and v are one tensor; not used where they are three. */
  readonly kvHeads?: number;
}
/** The attributes of both ops. */
const formOf = (inputs: Qkv, { causal, scale, kvHeads = 0 }: AttentionForm) => [
  ...T[dtypeOf(inputs[0])],
  attr.int('N', inputs.length),
  attr.int('kv_heads', kvHeads),
  attr.bool('causal', causal),
  attr.float('scale', scale),
];

/** [o_BTHK, lse_BHT] of queries over a block of keys and values (see attention-block.ts). */
export const attention = (inputs: Qkv, form: AttentionForm) =>
  executeMany('FourfoldAttention', [...inputs], formOf(inputs, form), 2) as [o_BTHK: Tensor, lse_BHT: Tensor];

/** What forward has given: its output, and one number a query; and the gradient by the output. */
export type AttentionOutput = Pick<AttentionSaved, 'o' | 'lse' | 'dO'>;

/** The gradients by the inputs: three, or one. Not deterministic, a GPU adds up in any order. */
export function attentionGrad<Inputs extends Qkv>(
  inputs: Inputs,
  { dO, o, lse }: AttentionOutput,
  form: AttentionForm & { readonly deterministic: boolean },
): { [I in keyof Inputs]: Tensor } {
  const attributes = [...formOf(inputs, form), attr.bool('deterministic', form.deterministic)];
  const gradients: unknown = executeMany('FourfoldAttentionGrad', [dO, ...inputs, o, lse], attributes, inputs.length);
  return gradients as { [I in keyof Inputs]: Tensor };
}

/** [losses_C, dlogits_CV], the latter times `weight`, written over the logits; an empty tensor without gradients. */
export function crossEntropy(logits_CV: Tensor, targets_C: Tensor, gradients: boolean, weight: number) {
  const attributes = [...T[dtypeOf(logits_CV)], attr.bool('gradients', gradients), attr.float('weight', weight)];
  const viewed = [undefined, gradients ? logits_CV : undefined];
  return executeViews('FourfoldCrossEntropy', [logits_CV, targets_C], attributes, viewed) as [Tensor, Tensor];
}

/**
 * What a rank that has a part of the words knows of a token's logits (see split-softmax.ts): [C, 3], float32. `first`:
 * the first of its words.
 */
export const logitStatistics = (logits_CV: Tensor, targets_C: Tensor, first: number): Tensor =>
  execute('FourfoldLogitStatistics', [logits_CV, targets_C], [...T[dtypeOf(logits_CV)], attr.int('first', first)]);

/** crossEntropy's results, from the logits of this rank's words and the statistics of all ranks, [n·C, 3]. */
export function logitGradient(logits_CV: Tensor, targets_C: Tensor, stats: Tensor, options: SplitLossOptions) {
  const { first, gradients, weight } = options;
  const loss = [attr.int('first', first), attr.bool('gradients', gradients), attr.float('weight', weight)];
  const viewed = [undefined, gradients ? logits_CV : undefined];
  const inputs = [logits_CV, targets_C, stats];
  return executeViews('FourfoldLogitGradient', inputs, [...T[dtypeOf(logits_CV)], ...loss], viewed) as [Tensor, Tensor];
}

/** x_ND: rows of a table that has those of ids `first` and on, of `words` in all; 0 for ids that it has no row for. */
export function embedding(table_VD: Tensor, ids_N: Tensor, { first, words }: Words): Tensor {
  const attributes = [...T[dtypeOf(table_VD)], attr.int('first', first), attr.int('words', words)];
  return execute('FourfoldEmbedding', [table_VD, ids_N], attributes);
}

/**
 * grad_VD with the rows of dx_ND added to rows ids_N - first, in its own memory: grad_VD itself has changed (and on the
 * CPU the array of JavaScript's that it was made of, if it was). Ids that it has no row for are passed over.
 */
export const embeddingGrad = (dx_ND: Tensor, ids_N: Tensor, grad_VD: Tensor, first = 0): Tensor =>
  executeView(
    'FourfoldEmbeddingGrad',
    [dx_ND, ids_N, grad_VD],
    [...T[dtypeOf(dx_ND)], attr.type('G', dtypeOf(grad_VD)), attr.int('first', first)],
    grad_VD,
  );

/** o_BTHK and lse_BHT, float32, with a part merged into queries `start` and on (see merge.ts), in their own memory. */
export function mergeAttention(
  [o_BTHK, lse_BHT]: Attention,
  [part_BQHK, lse_BHQ]: Attention,
  start: number,
): Attention {
  const attributes = [...T[dtypeOf(part_BQHK)], attr.int('start', start)];
  const inputs = [o_BTHK, lse_BHT, part_BQHK, lse_BHQ];
  return executeViews('FourfoldMergeAttention', inputs, attributes, [o_BTHK, lse_BHT]) as [Tensor, Tensor];
}

/** sum_BT, float32, with part_BQ added to places `start` and on along axis 1, in its own memory. */
export const addAt = (sum_BT: Tensor, part_BQ: Tensor, start: number): Tensor =>
  executeView('FourfoldAddAt', [sum_BT, part_BQ], [...T[dtypeOf(part_BQ)], attr.int('start', start)]);
