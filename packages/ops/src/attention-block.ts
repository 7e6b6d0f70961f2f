/**
 * Attention over a block of the keys, where the others are seen elsewhere or later: a softmax can be put together from
 * its parts.
 *
 * A softmax divides by a sum over all keys. A block has its own keys alone, and so gives two things: the mean of its
 * values under its own softmax, and the logarithm of the sum that it divided by, the weight of this mean against those
 * of other blocks:
 *
 *   S = q · kᵀ / √K     o = softmax(S) · v          lse = log Σ exp(S)         (log-sum-exp, one number a query)
 *
 *   of all blocks:      lse = log Σ_b exp(lse_b)    o = Σ_b exp(lse_b - lse) · o_b
 *
 * Backward takes the lse of the whole, which makes every block's probabilities parts of the whole softmax at once, and
 * D = Σ_K do · o, of the whole too. Then each block's gradients are plain sums over its keys and queries:
 *
 *   P = exp(S - lse)    dv = Pᵀ · do    dP = do · vᵀ    dS = P · (dP - D)    dq = dS · k / √K    dk = dSᵀ · q / √K
 *
 * B batch, H query heads, G key and value heads, R = H / G query heads that share one of those, T queries, S keys,
 * K head dimension. A fused op does all of it where there is one (runtime/native/ops/attention.h).
 *
 * Dao, "FlashAttention-2" (2023), section 3.1, where the blocks are the pieces that fit a GPU's on-chip memory.
 */
import { cast, constant, dtypeOf, hasFusedOps } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import * as fused from './fused.ts';
import {
  add,
  concat,
  exp,
  log,
  matmul,
  max,
  mul,
  reshape,
  scale,
  slice,
  softmax,
  sub,
  sum,
  transpose,
} from './kernels.ts';

/** How a block of scores is computed. */
export interface AttentionBlockOptions {
  /** Whether query i sees keys 0 to i, which needs as many keys as queries; default: every query sees all keys. */
  readonly causal?: boolean;
  /** Whether a GPU adds up gradients in one order, the same bits every time (default), or in any, which is faster. */
  readonly deterministic?: boolean | undefined;
  /** Bytes that the scores of one tile of queries may take (default 64 MiB); the fused op's take 16 KiB. */
  readonly tileBytes?: number;
}
const TILE_BYTES = 2 ** 26;

/** 1 / √K. */
export const scaleOf = (q_BTHK: Tensor): number => (q_BTHK.shape[3] as number) ** -0.5;

/** [o_BTHK, lse_BHT] of queries over one block of S keys and values; lse in float32 whatever the inputs are. */
export function attentionBlock(
  q_BTHK: Tensor,
  k_BSGK: Tensor,
  v_BSGK: Tensor,
  { causal = false, tileBytes = TILE_BYTES }: AttentionBlockOptions = {},
): [o_BTHK: Tensor, lse_BHT: Tensor] {
  if (hasFusedOps(q_BTHK)) return fused.attention([q_BTHK, k_BSGK, v_BSGK], { causal, scale: scaleOf(q_BTHK) });
  return tf.tidy(() => {
    const q = headsFirst(scale(q_BTHK, scaleOf(q_BTHK))); // here once, not in every score
    const [k, v] = [headsFirst(k_BSGK), headsFirst(v_BSGK)];
    const tiles = tilesOf(q.shape, k.shape[2] as number, tileBytes, causal);
    const parts = tiles.map((tile) => tf.tidy(() => tileOutput(q, k, v, tile, causal)));
    const [o, lse] = ([0, 1] as const).map((i) =>
      concat(
        parts.map((part) => part[i]),
        2,
      ),
    ) as [Tensor, Tensor];
    return [headsFirst(o), lse];
  });
}

/** What forward saw of this block, and what the whole attention gave and got. */
export interface AttentionSaved {
  /** [B, T, H, K]. */
  readonly q: Tensor;
  /** [B, S, G, K]. */
  readonly k: Tensor;
  /** [B, S, G, K]. */
  readonly v: Tensor;
  /** The whole attention's, [B, T, H, K]. */
  readonly o: Tensor;
  /** log Σ exp(S) over the keys of all blocks, [B, H, T], float32. */
  readonly lse: Tensor;
  /** The gradient by o, [B, T, H, K]. */
  readonly dO: Tensor;
}

/** This block's part of [dq_BTHK, dk_BSGK, dv_BSGK], in the inputs' dtype. */
export function attentionBlockGradients(
  saved: AttentionSaved,
  { causal = false, deterministic = true, tileBytes = TILE_BYTES }: AttentionBlockOptions = {},
): [dq_BTHK: Tensor, dk_BSGK: Tensor, dv_BSGK: Tensor] {
  const { q, k, v } = saved;
  if (hasFusedOps(q)) return fused.attentionGrad([q, k, v], saved, { causal, scale: scaleOf(q), deterministic });
  return tf.tidy(() => {
    const inputs = gradientInputs(saved);
    const tiles = tilesOf(inputs.q.shape, inputs.k.shape[2] as number, tileBytes, causal);
    const [dq, ...dkdv] = sumOverTiles(tiles, (tile) => tileGradients(inputs, tile, causal));
    const gradients = [scale(dq, scaleOf(saved.q)), ...dkdv].map((x) => headsFirst(cast(x, dtypeOf(saved.q))));
    return gradients as [Tensor, Tensor, Tensor];
  });
}

// ## In stock kernels
//
// A batched product wants each head's rows in one piece: so heads go before time here, and back at the end.
//
// Queries go in tiles, and a tile of a causal block reads only the keys up to its end: half of the work is never done,
// and the scores of one tile are all that is in memory at a time. Heads that share keys cost nothing: the R heads'
// queries are stacked as R·t rows against the same keys, which are never repeated.

/** [B, T, H, K] to [B, H, T, K], or back. */
const headsFirst = (x: Tensor): Tensor => transpose(x, [0, 2, 1, 3]);

/** Queries start to start + length, which see the first `keys` keys: those up to their own end, or all there are. */
interface Tile {
  readonly start: number;
  readonly length: number;
  readonly keys: number;
}

/** Equal tiles of q's T queries whose scores against S keys fit tileBytes; none below 16 queries. */
function tilesOf([B, H, T]: number[], S: number, tileBytes: number, causal: boolean): Tile[] {
  const total = T as number;
  const longest = Math.max(16, Math.floor(tileBytes / (4 * (B as number) * (H as number) * S)));
  const length = Math.ceil(total / Math.ceil(total / longest));
  return Array.from({ length: Math.ceil(total / length) }, (_, i) => {
    const [start, end] = [i * length, Math.min((i + 1) * length, total)];
    return { start, length: end - start, keys: causal ? end : S };
  });
}

/** A tile of queries (or of what has one row for each), the heads that share keys stacked: [B, G, R·t, K]. */
function stacked(x_BHTK: Tensor, { start, length }: Tile, G: number): Tensor {
  const [B, , , K] = x_BHTK.shape as [number, number, number, number];
  return reshape(slice(x_BHTK, 2, start, length), [B, G, -1, K]);
}

/** The keys (or values) that a tile sees: [B, G, keys, K]. */
const seen = (x_BGSK: Tensor, { keys }: Tile): Tensor => slice(x_BGSK, 2, 0, keys);

/** S of a tile's stacked queries, [B, G, R·t, keys], float32; -∞ where a query does not see a key. */
function scores(q_: Tensor, k_: Tensor, tile: Tile, causal: boolean): Tensor {
  const s = cast(matmul(q_, k_, 'nt'), 'float32');
  if (!causal) return s;
  const perHead = reshape(s, [-1, tile.length, tile.keys]);
  return reshape(add(perHead, causalMask(tile)), s.shape);
}

/** 0 where query start + i sees key j (j ≤ start + i), -∞ where it does not: [t, keys]. */
function causalMask({ start, length, keys }: Tile): Tensor {
  const mask = new Float32Array(length * keys);
  for (let i = 0; i < length; i++) mask.fill(Number.NEGATIVE_INFINITY, i * keys + start + i + 1, (i + 1) * keys);
  return constant(mask, [length, keys]);
}

/** o, [B, H, t, K], and lse, [B, H, t], of one tile. */
function tileOutput(q: Tensor, k: Tensor, v: Tensor, tile: Tile, causal: boolean): [o: Tensor, lse: Tensor] {
  const [B, H, , K] = q.shape as [number, number, number, number];
  const s = scores(stacked(q, tile, k.shape[1] as number), seen(k, tile), tile, causal);
  const p = softmax(s);
  const o = matmul(cast(p, dtypeOf(q)), seen(v, tile));
  // The largest probability is exp(max S) / Σ exp(S), and so log Σ exp(S) = max S - log max P.
  const lse = sub(max(s, 3), log(max(p, 3)));
  return [reshape(o, [B, H, tile.length, K]), reshape(lse, [B, H, tile.length])];
}

// ## Backward in stock kernels

/** Heads first; lse and D are [B, H, T, 1]. */
interface GradientInputs {
  /** Scaled. */
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly dO: Tensor;
  readonly lse: Tensor;
  readonly D: Tensor;
}

/** What all tiles share: D = Σ_k dO · o of each query, once, and q scaled as it was in forward. */
function gradientInputs({ q, k, v, o, lse, dO }: AttentionSaved): GradientInputs {
  const D_BTH1 = sum(mul(cast(dO, 'float32'), cast(o, 'float32')), 3, true);
  return {
    q: headsFirst(scale(q, scaleOf(q))),
    k: headsFirst(k),
    v: headsFirst(v),
    dO: headsFirst(dO),
    lse: reshape(lse, [...lse.shape, 1]),
    D: headsFirst(D_BTH1),
  };
}

/** Of one tile: dq (by the scaled q), [B, H, t, K], and its part of dk and dv, [B, G, keys, K], float32. */
type TileGradients = readonly [dq: Tensor, dk: Tensor, dv: Tensor];

/** The equations at the top, of one tile: P again from the scores and lse, then dS, and the three products. */
function tileGradients(inputs: GradientInputs, tile: Tile, causal: boolean): TileGradients {
  const [B, H, , K] = inputs.q.shape as [number, number, number, number];
  const dtype = dtypeOf(inputs.q);
  const [k, v] = [seen(inputs.k, tile), seen(inputs.v, tile)];
  const [q, dO, lse, D] = [inputs.q, inputs.dO, inputs.lse, inputs.D].map((x) =>
    stacked(x, tile, k.shape[1] as number),
  ) as [Tensor, Tensor, Tensor, Tensor];
  const p = tf.tidy(() => exp(sub(scores(q, k, tile, causal), lse)));
  const dS = tf.tidy(() => cast(mul(p, sub(cast(matmul(dO, v, 'nt'), 'float32'), D)), dtype));
  const dq = reshape(matmul(dS, k), [B, H, tile.length, K]);
  const [dk, dv] = [matmul(dS, q, 'tn'), matmul(cast(p, dtype), dO, 'tn')];
  return [dq, cast(dk, 'float32'), cast(dv, 'float32')];
}

/** dq of all tiles one after the other, and the sums of their parts of dk and dv. */
function sumOverTiles(tiles: Tile[], gradientsOf: (tile: Tile) => TileGradients): TileGradients {
  const dqs: Tensor[] = [];
  let sums: [dk: Tensor, dv: Tensor] | undefined;
  // From the last tile on, whose part of dk and dv covers all keys; each earlier one is added to their beginning.
  for (const tile of tiles.toReversed()) {
    const before = sums;
    const [dq, dk, dv] = tf.tidy(() => {
      const [dq, dk, dv] = gradientsOf(tile);
      return before ? ([dq, addToStart(before[0], dk), addToStart(before[1], dv)] as const) : ([dq, dk, dv] as const);
    });
    if (before) tf.dispose(before);
    dqs.unshift(dq);
    sums = [dk, dv];
  }
  return [concat(dqs, 2), ...(sums as [Tensor, Tensor])];
}

/** x with `part` added to its first places along time. */
function addToStart(x: Tensor, part: Tensor): Tensor {
  const [length, T] = [part.shape[2] as number, x.shape[2] as number];
  if (length === T) return add(x, part);
  return concat([add(slice(x, 2, 0, length), part), slice(x, 2, length, T - length)], 2);
}
