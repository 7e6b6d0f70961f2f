/**
 * A decoder's layer as two ops, each a half between two places where ranks that share the layer add up:
 *
 *     x_ND = attentionHalf(x_ND, …)      y = [onto +] out · attention(qkv · norm(x))
 *     x_ND = feedForward(x_ND, …)        y = [onto +] down · swiglu(up · norm(x))
 *
 * They compute what packedProduct and cachedAttention compute one after the other, to the bit. Why they are there: an
 * op costs some tens of microseconds before it computes anything, and a small model's step has 30 layers.
 */
import { attr, execute } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { attentionNumbers, type Cache, type CachedAttentionOptions, cachedAttention } from './cached-attention.ts';
import { type Packed, shapeNumbers } from './packed.ts';
import { type Activations, type NormOptions, packedProduct } from './packed-product.ts';

/** How one branch of a block is computed. */
export interface HalfOptions {
  /** What the matrices multiply. */
  readonly activations: Activations;
  /** RMSNorm of x. */
  readonly norm: NormOptions;
  /** Added to the result: x itself where one rank has the layer; of several ranks one adds it. */
  readonly onto_ND?: Tensor | undefined;
}

/** The matrices of attention, or a rank's part of them. */
export interface AttentionWeights {
  /** (H + 2G)·K rows of D: q's heads, k's and v's. */
  readonly qkv_JD: Packed;
  /** D rows of H·K. */
  readonly out_DH: Packed;
}

/** y_ND of x_ND, float32; writes k and v of rows_N2 (slots and positions, int32) to the cache. */
export function attentionHalf(
  x_ND: Tensor,
  { qkv_JD, out_DH }: AttentionWeights,
  cache: Cache,
  rows_N2: Tensor,
  options: HalfOptions & CachedAttentionOptions,
): Tensor {
  const { activations, norm, onto_ND, tables, qkNorm } = options;
  if (!cache.data || !qkv_JD.native)
    return tf.tidy(() => {
      const qkv_NJ = packedProduct(x_ND, qkv_JD, { activations, norm });
      return packedProduct(cachedAttention(qkv_NJ, cache, rows_N2, options), out_DH, { activations, onto_NO: onto_ND });
    });
  const extras = [norm.gain_I, ...(qkNorm ? [qkNorm.q_K, qkNorm.k_K] : []), ...(onto_ND ? [onto_ND] : [])];
  const inputs = [x_ND, qkv_JD.data, out_DH.data, cache.data, rows_N2, tables.cos_TK, tables.sin_TK, ...extras];
  const attributes = halfAttributes([qkv_JD, out_DH], extras.length, options, qkNorm !== undefined);
  return execute('FourfoldAttentionHalf', inputs, [...attributes, ...attentionNumbers(cache, options)]);
}

/** The matrices of a feed-forward, or a rank's part of them. */
export interface FeedForwardWeights {
  /** 2F rows of D: gate's, then up's. */
  readonly up_2FD: Packed;
  /** D rows of F. */
  readonly down_DF: Packed;
}

/** y_ND of x_ND, float32. */
export function feedForward(x_ND: Tensor, { up_2FD, down_DF }: FeedForwardWeights, options: HalfOptions): Tensor {
  const { activations, norm, onto_ND } = options;
  if (!up_2FD.native)
    return tf.tidy(() => {
      const hidden_N2F = packedProduct(x_ND, up_2FD, { activations, norm });
      return packedProduct(hidden_N2F, down_DF, { activations, swiglu: true, onto_NO: onto_ND });
    });
  const extras = [norm.gain_I, ...(onto_ND ? [onto_ND] : [])];
  const attributes = halfAttributes([up_2FD, down_DF], extras.length, options, false);
  return execute('FourfoldFeedForward', [x_ND, up_2FD.data, down_DF.data, ...extras], attributes);
}

/** What both ops are told: the two matrices' shapes, and what is there beside them. */
const halfAttributes = (
  [first, second]: [Packed, Packed],
  extras: number,
  { activations, norm, onto_ND }: HalfOptions,
  qkNorm: boolean,
) => [
  attr.int('M', extras),
  attr.ints('shapes', [...shapeNumbers(first), ...shapeNumbers(second)]),
  attr.ints('how', [qkNorm, onto_ND !== undefined, activations === 'q80'].map(Number)),
  attr.float('norm_epsilon', norm.epsilon),
];
