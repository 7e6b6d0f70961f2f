/**
 * Attention of a step's rows over the caches of their sequences, in one op.
 *
 *     cache = createCache({ slots, positions, kvHeads, headDim, format })      one a layer
 *     o_ND = cachedAttention(qkv_NJ, cache, rows_N2, options)
 *
 * Each row is one token of one sequence (its slot) at one position. Its q and k turn by RoPE to that position, its k
 * and v go into the cache, and its queries look at all that the cache then holds up to the position. Rows of a prompt
 * and rows of answers that go on can be mixed.
 *
 * A cache of float32 takes 8·G·K bytes a position and layer, of bfloat16 half, of q80 (blocks of 32 with a scale) 27%.
 */
import { attr, execute, executeMany } from '@fourfold/runtime';
import { blank } from '@fourfold/runtime/bytes';
import { hostInts } from '@fourfold/runtime/shapes';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { RopeTables } from '../rope.ts';
import { BLOCK, FORMAT_NUMBER, inBlocks, rowBytes } from './formats.ts';
import { hasPackedOps } from './packed.ts';
import { stockAttention, stockCopy } from './stock-attention.ts';

/** What keys and values are kept in. */
export type CacheFormat = 'f32' | 'bf16' | 'q80';

/** How large a cache is. */
export interface CacheShape {
  /** How many sequences it holds at once. */
  readonly slots: number;
  /** Positions of each sequence. */
  readonly positions: number;
  /** G, this rank's heads of keys and values. */
  readonly kvHeads: number;
  /** K, a multiple of 32 for q80. */
  readonly headDim: number;
  /** What the numbers are kept in. */
  readonly format: CacheFormat;
}

/** One layer's keys and values. Only cachedAttention and copyCache write to it. */
export interface Cache extends CacheShape {
  /** For the native ops (native/ops/cached-attention.h has the layout); tf.tidy does not free it. */
  readonly data?: Tensor;
  /** Elsewhere: [slots, keys and values, G, positions, K], rounded as the format rounds. */
  readonly values?: Float32Array;
  /** Bytes of memory that it takes. */
  readonly bytes: number;
  /** Frees it. */
  dispose(): void;
}

/** How a step's rows look at the caches. */
export interface CachedAttentionOptions {
  /** H, this rank's query heads. */
  readonly heads: number;
  /** How many query heads of the whole model share one of keys and values: H / G. Default: heads / kvHeads. */
  readonly groupSize?: number;
  /** Place of this rank's first query head in its group (default 0): h reads head floor((h + offset) / groupSize). */
  readonly headOffset?: number;
  /** Of all positions that come up, from 0: at least as many as the cache's, or the rows' positions must be below. */
  readonly tables: RopeTables;
  /** RMSNorm of each head of q and of k before they turn (Qwen3). */
  readonly qkNorm?: { readonly q_K: Tensor; readonly k_K: Tensor; readonly epsilon: number } | undefined;
  /** How many positions back a row sees, itself included; default: all. */
  readonly window?: number | undefined;
  /** By what q · k is multiplied: 1/sqrt(K) in most models. */
  readonly scale: number;
  /** Scores become cap · tanh(score / cap) (Grok-1); default: they stay. */
  readonly softcap?: number | undefined;
}

/** An empty cache. Throws RangeError where q80's blocks don't fit a head. */
export function createCache(shape: CacheShape): Cache {
  const { slots, positions, kvHeads, headDim, format } = shape;
  if (inBlocks(format) && headDim % BLOCK !== 0)
    throw new RangeError(`heads of ${headDim} numbers are not whole blocks of ${BLOCK}, which a q80 cache is made of`);
  const numbers = slots * 2 * kvHeads * positions * headDim;
  if (!hasPackedOps()) return { ...shape, values: new Float32Array(numbers), bytes: 4 * numbers, dispose: () => {} };
  const words = Math.ceil(rowBytes(format, numbers) / 4);
  const memory = blank([words], 'float32');
  memory.view.fill(0);
  const data = tf.keep(memory.finish());
  return { ...shape, data, bytes: 4 * words, dispose: () => data.dispose() };
}

/**
 * o_ND, [N, H·K], of qkv_NJ: [N, (H + 2G)·K] or [N, H + 2G, K], the heads of q, of k and of v in this order. rows_N2,
 * int32: each row's slot and position, those of one slot in order. Writes to the cache.
 *
 * @throws RangeError where a slot or position is not one of the cache's; from the native op it is an Error
 */
export function cachedAttention(
  qkv_NJ: Tensor,
  cache: Cache,
  rows_N2: Tensor,
  options: CachedAttentionOptions,
): Tensor {
  if (!cache.data) return stockAttention(qkv_NJ, cache, rows_N2, options);
  const { tables, qkNorm } = options;
  const gains = qkNorm ? [qkNorm.q_K, qkNorm.k_K] : [];
  const inputs = [qkv_NJ, cache.data, rows_N2, tables.cos_TK, tables.sin_TK, ...gains];
  return execute('FourfoldCachedAttention', inputs, [attr.int('M', gains.length), ...attentionNumbers(cache, options)]);
}

/** The attributes of attention that native ops take. */
export function attentionNumbers(cache: CacheShape, options: CachedAttentionOptions) {
  const { slots, positions, kvHeads, format } = cache;
  const { heads, groupSize = heads / kvHeads, headOffset = 0, qkNorm, window = 0, scale, softcap = 0 } = options;
  const numbers = [FORMAT_NUMBER[format], slots, positions, heads, kvHeads, headOffset, groupSize, window];
  return [
    attr.ints('attention', numbers),
    attr.float('scale', scale),
    attr.float('softcap', softcap),
    attr.float('epsilon', qkNorm?.epsilon ?? 0),
  ];
}

/**
 * Copies the first `length` positions of slot `from` to slot `to`.
 *
 * @throws RangeError where the cache has no such slots or positions; from the native op it is an Error
 */
export function copyCache(cache: Cache, from: number, to: number, length: number): void {
  if (!cache.data) {
    stockCopy(cache, from, to, length);
    return;
  }
  const range = hostInts(Int32Array.of(from, to, length), [3]);
  const { slots, positions, kvHeads, headDim, format } = cache;
  const numbers = [slots, positions, 2 * kvHeads, rowBytes(format, headDim)];
  executeMany('FourfoldCopyCache', [cache.data, range], [attr.ints('cache_shape', numbers)], 0);
  range.dispose();
}
