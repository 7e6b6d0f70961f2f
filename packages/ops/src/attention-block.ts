/**
 * Attention over a block of the keys, where the others are seen elsewhere or later: a softmax can be put together from
 * its parts.
 *
 * A softmax divides by a sum over all keys. A block has its own keys alone, and so gives two things: the mean of its
 * values under its own softmax, and the logarithm of the sum that it divided by, the weight of this mean against those
 * of other blocks:
 *
 *   S = q · kᵀ          o = softmax(S) · v          lse = log Σ exp(S)         (log-sum-exp, one number a query)
 *
 *   of all blocks:      lse = log Σ_b exp(lse_b)    o = Σ_b exp(lse_b - lse) · o_b
 *
 * Backward takes the lse of the whole, which makes every block's probabilities parts of the whole softmax at once, and
 * D = Σ_K do · o, of the whole too. Then each block's gradients are plain sums over its keys and queries:
 *
 *   P = exp(S - lse)     dv = Pᵀ · do      dP = do · vᵀ      dS = P · (dP - D)      dq = dS · k      dk = dSᵀ · q
 *
 * q comes scaled by 1 / √K, and dq is the gradient by that scaled q: whoever has many blocks scales once.
 *
 * B batch, H query heads, G key and value heads, T queries, S keys, K head dimension; scores exist for one tile of
 * queries at a time, and heads that share keys are stacked (see attention.ts). In float32 on the CPU one op does all of
 * it (runtime/native/ops/attention.h).
 *
 * Dao, "FlashAttention-2" (2023), section 3.1, where the blocks are the pieces that fit a GPU's on-chip memory.
 */
import { cast, dtypeOf, hasFusedOps } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import {
  attend,
  causalMask,
  seen,
  stacked,
  sumOverTiles,
  type Tile,
  type TileGradients,
  tilesOf,
} from './attention.ts';
import * as fused from './fused.ts';
import { add, concat, exp, log, matmul, max, mul, reshape, softmax, sub } from './kernels.ts';

export interface AttentionBlockOptions {
  /** Whether query i sees keys 0 to i, which needs as many keys as queries; default: every query sees all keys. */
  readonly causal?: boolean;
  /** Bytes that one tile's scores may take (default 64 MiB); the fused op's take 16 KiB. */
  readonly tileBytes?: number;
}
const TILE_BYTES = 2 ** 26;

/**
 * [o_BHTK, lse_BHT1] of scaled queries over one block of keys and values; both float32 whatever the inputs are, since
 * they will be added up.
 */
export function attentionBlock(
  q_BHTK: Tensor,
  k_BGSK: Tensor,
  v_BGSK: Tensor,
  { causal = false, tileBytes = TILE_BYTES }: AttentionBlockOptions = {},
): [o_BHTK: Tensor, lse_BHT1: Tensor] {
  if (hasFusedOps(q_BHTK)) return fused.attention(q_BHTK, k_BGSK, v_BGSK, causal);
  const tiles = tilesOf(q_BHTK.shape, k_BGSK.shape[2] as number, tileBytes, causal);
  const parts = tiles.map((tile) => tf.tidy(() => tileOutput(q_BHTK, k_BGSK, v_BGSK, tile, causal)));
  const joined = (i: 0 | 1) => {
    const pieces = parts.map((part) => part[i]);
    const whole = concat(pieces, 2);
    tf.dispose(pieces);
    return whole;
  };
  return [joined(0), joined(1)];
}

/** o, [B, H, t, K], and lse, [B, H, t, 1], of one tile. */
function tileOutput(q: Tensor, k: Tensor, v: Tensor, tile: Tile, causal: boolean): [o: Tensor, lse: Tensor] {
  const s = scores(stacked(q, tile, k.shape[1] as number), seen(k, tile), tile, causal);
  const p = softmax(s);
  const o = cast(attend(cast(p, dtypeOf(q)), v, tile, q.shape), 'float32');
  // The largest probability is exp(max S) / Σ exp(S), and so log Σ exp(S) = max S - log max P.
  const lse = sub(max(s, 3, true), log(max(p, 3, true)));
  return [o, reshape(lse, [...o.shape.slice(0, 3), 1])];
}

/** S of a tile's stacked queries, [B, G, R·t, keys], float32; -∞ where a query does not see a key. */
function scores(q_: Tensor, k_: Tensor, tile: Tile, causal: boolean): Tensor {
  const s = cast(matmul(q_, k_, 'nt'), 'float32');
  if (!causal) return s;
  const perHead = reshape(s, [-1, tile.length, tile.keys]);
  return reshape(add(perHead, causalMask(tile)), s.shape);
}

// ## Backward

/** What forward saw of this block, and what the whole attention gave and got. */
export interface AttentionBlockSaved {
  /** Scaled by 1 / √K. */
  readonly q_BHTK: Tensor;
  readonly k_BGSK: Tensor;
  readonly v_BGSK: Tensor;
  /** log Σ exp(S) over the keys of all blocks, float32. */
  readonly lse_BHT1: Tensor;
  readonly do_BHTK: Tensor;
  /** D = Σ_K do · o of the whole attention's o, float32. */
  readonly D_BHT1: Tensor;
}

/** This block's part of [dq_BHTK (by the scaled q), dk_BGSK, dv_BGSK], float32. */
export function attentionBlockGradients(
  saved: AttentionBlockSaved,
  { causal = false, tileBytes = TILE_BYTES }: AttentionBlockOptions = {},
): [dq_BHTK: Tensor, dk_BGSK: Tensor, dv_BGSK: Tensor] {
  const { q_BHTK, k_BGSK } = saved;
  if (hasFusedOps(q_BHTK)) return fused.attentionGrad(saved, causal);
  const tiles = tilesOf(q_BHTK.shape, k_BGSK.shape[2] as number, tileBytes, causal);
  return [...sumOverTiles(tiles, (tile) => tileGradients(saved, tile, causal))];
}

function tileGradients(saved: AttentionBlockSaved, tile: Tile, causal: boolean): TileGradients {
  const { q_BHTK, k_BGSK, v_BGSK } = saved;
  const [B, H, , K] = q_BHTK.shape as [number, number, number, number];
  const dtype = dtypeOf(q_BHTK);
  const [k, v] = [seen(k_BGSK, tile), seen(v_BGSK, tile)];
  const inputs = [q_BHTK, saved.do_BHTK, saved.lse_BHT1, saved.D_BHT1];
  const [q, dO, lse, D] = inputs.map((x) => stacked(x, tile, k.shape[1] as number)) as [Tensor, Tensor, Tensor, Tensor];
  const p = exp(sub(scores(q, k, tile, causal), lse));
  const dP = cast(matmul(dO, v, 'nt'), 'float32');
  const dS = cast(mul(p, sub(dP, D)), dtype);
  const dq = reshape(matmul(dS, k), [B, H, tile.length, K]);
  const [dk, dv] = [matmul(dS, q, 'tn'), matmul(cast(p, dtype), dO, 'tn')];
  return [cast(dq, 'float32'), cast(dk, 'float32'), cast(dv, 'float32')];
}
