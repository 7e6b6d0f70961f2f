/**
 * Causal attention: every token takes a mean of the values before it, weighted by how well its query fits their keys.
 *
 *   S = q · kᵀ / √K         scores, [T, T] for each head; a query sees no key after it
 *   P = softmax(S)
 *   o = P · v
 *
 * Backward (D is one number a query: the softmax's gradient needs it, and o gives it without P):
 *
 *   dv = Pᵀ · do            dP = do · vᵀ            D = Σ_K do · o
 *   dS = P · (dP - D)       dq = dS · k / √K        dk = dSᵀ · q / √K
 *
 * Queries go in tiles, and a tile reads only the keys up to its end: half of the work is never done, and the scores of
 * one tile are all that is in memory at a time. Backward needs P again: tiles that are small in sum are kept, else each
 * is recomputed from q and k. Dao et al., "FlashAttention" (2022), is this idea inside one kernel, of which there is
 * one for float32 on the CPU (runtime/native/ops/attention.h).
 *
 * B batch, H query heads, G key and value heads, R = H / G query heads share one of those, T time, K head dimension.
 * Sharing costs nothing: the R heads' queries are stacked as R·T rows against the same keys, which are never repeated.
 */
import { cast, dtypeOf, hasFusedOps } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import * as fused from './fused.ts';
import { add, concat, matmul, mul, reshape, scale, share, slice, softmax, sub, sum } from './kernels.ts';
import { type Layer, type Pullback, pullback } from './layer.ts';

/** How the stock kernels do it: the fused op has tiles of 16 KiB, and keeps no probabilities. */
export interface AttentionOptions {
  /** Bytes that one tile's scores may take (default 64 MiB). */
  readonly tileBytes?: number;
  /** Bytes of probabilities that a layer may keep for backward (default 64 MiB). */
  readonly keepBytes?: number;
}
const MIB = 2 ** 20;

/** Queries start to start + length, which see the first `keys` keys: those up to their own end, or all there are. */
export interface Tile {
  readonly start: number;
  readonly length: number;
  readonly keys: number;
}

/** [q_BHTK, k_BGTK, v_BGTK] to o_BHTK. */
export const causalAttention =
  ({ tileBytes = 64 * MIB, keepBytes = 64 * MIB }: AttentionOptions = {}): Layer<readonly Tensor[]> =>
  async (inputs) => {
    const [q_BHTK, k_BGTK, v_BGTK] = inputs as [Tensor, Tensor, Tensor];
    const [B, H, T, K] = q_BHTK.shape as [number, number, number, number];
    const q = scale(q_BHTK, 1 / Math.sqrt(K)); // here once, not in every score
    if (hasFusedOps(q)) return fusedAttention(q, k_BGTK, v_BGTK);
    const [k, v] = [share(k_BGTK), share(v_BGTK)];
    const tiles = tilesOf(q.shape, T, tileBytes, true);
    const keep = 4 * B * H * T * T <= keepBytes;
    const kept: Tensor[] = [];
    const outputs = tiles.map((tile) => {
      const p = probabilities(q, k, tile);
      const o = attend(p, v, tile, q.shape);
      keep ? kept.push(p) : p.dispose();
      return o;
    });
    const o_BHTK = concat(outputs, 2);
    tf.dispose(outputs);
    const saved = { q, k, v, o: share(o_BHTK) };
    const backward = (do_BHTK: Tensor) => gradients(saved, do_BHTK, tiles, kept);
    return [o_BHTK, pullback([q, k, v, saved.o, ...kept], backward)];
  };

/** In one op forward and one backward. Takes over the scaled q. */
function fusedAttention(q: Tensor, k_BGTK: Tensor, v_BGTK: Tensor): [o_BHTK: Tensor, Pullback<readonly Tensor[]>] {
  const [o_BHTK, lse] = fused.attention(q, k_BGTK, v_BGTK, true);
  const saved = { q_BHTK: q, k_BGSK: share(k_BGTK), v_BGSK: share(v_BGTK), lse_BHT1: lse };
  const o = share(o_BHTK);
  const backward = (do_BHTK: Tensor) => {
    const D_BHT1 = tf.tidy(() => sum(mul(do_BHTK, o), 3, true));
    const gradients = fused.attentionGrad({ ...saved, do_BHTK, D_BHT1 }, true);
    D_BHT1.dispose();
    return unscaled(gradients);
  };
  return [o_BHTK, pullback([...Object.values(saved), o], backward)];
}

/** Equal tiles of q's T queries whose scores against S keys fit tileBytes; none below 16 queries. */
export function tilesOf([B, H, T]: number[], S: number, tileBytes: number, causal: boolean): Tile[] {
  const total = T as number;
  const longest = Math.max(16, Math.floor(tileBytes / (4 * (B as number) * (H as number) * S)));
  const length = Math.ceil(total / Math.ceil(total / longest));
  return Array.from({ length: Math.ceil(total / length) }, (_, i) => {
    const [start, end] = [i * length, Math.min((i + 1) * length, total)];
    return { start, length: end - start, keys: causal ? end : S };
  });
}

/** A tile of queries (or of what has their shape), the heads that share keys stacked: [B, G, R·t, K]. */
export function stacked(x_BHTK: Tensor, { start, length }: Tile, G: number): Tensor {
  const [B, , , K] = x_BHTK.shape as [number, number, number, number];
  return tf.tidy(() => reshape(slice(x_BHTK, 2, start, length), [B, G, -1, K]));
}

/** The keys (or values) that a tile sees: [B, G, keys, K]. */
export const seen = (x_BGTK: Tensor, { keys }: Tile): Tensor => slice(x_BGTK, 2, 0, keys);

/** P of one tile, [B, G, R·t, keys], in the dtype of q (scaled); the softmax itself in float32. */
function probabilities(q_BHTK: Tensor, k_BGTK: Tensor, tile: Tile): Tensor {
  return tf.tidy(() => {
    const scores = matmul(stacked(q_BHTK, tile, k_BGTK.shape[1] as number), seen(k_BGTK, tile), 'nt');
    const perHead = reshape(cast(scores, 'float32'), [-1, tile.length, tile.keys]);
    const p = softmax(add(perHead, causalMask(tile)));
    return cast(reshape(p, scores.shape), dtypeOf(q_BHTK));
  });
}

/** 0 where query start + i sees key j (j ≤ start + i), -∞ where it does not: [t, keys]. */
export function causalMask({ start, length, keys }: Tile): Tensor {
  const mask = new Float32Array(length * keys);
  for (let i = 0; i < length; i++) mask.fill(Number.NEGATIVE_INFINITY, i * keys + start + i + 1, (i + 1) * keys);
  return tf.tensor2d(mask, [length, keys]);
}

/** P · v of one tile: [B, H, t, K]. */
export function attend(p: Tensor, v_BGTK: Tensor, tile: Tile, [B, H, , K]: number[]): Tensor {
  return tf.tidy(() => reshape(matmul(p, seen(v_BGTK, tile)), [B as number, H as number, tile.length, K as number]));
}

// ## Backward

interface Saved {
  /** Scaled by 1 / √K. */
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly o: Tensor;
}

/** [dq_BHTK, dk_BGTK, dv_BGTK]. */
function gradients(saved: Saved, do_BHTK: Tensor, tiles: Tile[], kept: Tensor[]): readonly Tensor[] {
  return unscaled(sumOverTiles(tiles, (tile, i) => tileGradients(saved, do_BHTK, tile, kept[i])));
}

/** The gradients with dq by the scaled q as those by q itself. Takes them over. */
function unscaled([dq, dk, dv]: TileGradients): TileGradients {
  const scaled = scale(dq, 1 / Math.sqrt(dq.shape[3] as number));
  dq.dispose();
  return [scaled, dk, dv];
}

/** Of one tile: dq, [B, H, t, K], and its part of dk and dv, [B, G, keys, K]. */
export type TileGradients = readonly [dq: Tensor, dk: Tensor, dv: Tensor];

/** dq of all tiles one after the other, and the sums of their parts of dk and dv. */
export function sumOverTiles(tiles: Tile[], gradientsOf: (tile: Tile, i: number) => TileGradients): TileGradients {
  const dqs: Tensor[] = [];
  let sums: [dk: Tensor, dv: Tensor] | undefined;
  // From the last tile on, whose part of dk and dv covers all keys; each earlier one is added to their beginning.
  for (const [i, tile] of [...tiles.entries()].reverse()) {
    const before = sums;
    const [dq, dk, dv] = tf.tidy(() => {
      const [dq, dk, dv] = gradientsOf(tile, i);
      return before ? ([dq, addToStart(before[0], dk), addToStart(before[1], dv)] as const) : ([dq, dk, dv] as const);
    });
    if (before) tf.dispose(before);
    dqs.unshift(dq);
    sums = [dk, dv];
  }
  const dq = concat(dqs, 2);
  tf.dispose(dqs);
  return [dq, ...(sums as [Tensor, Tensor])];
}

/** The gradients of one tile, dq by the scaled q. */
function tileGradients({ q, k, v, o }: Saved, do_BHTK: Tensor, tile: Tile, kept?: Tensor): TileGradients {
  const [B, H, , K] = q.shape as [number, number, number, number];
  const [k_, v_] = [seen(k, tile), seen(v, tile)];
  const G = k.shape[1] as number;
  const [q_, o_, do_] = [q, o, do_BHTK].map((x) => stacked(x, tile, G)) as [Tensor, Tensor, Tensor];
  const p = kept ?? probabilities(q, k, tile);
  const dP = matmul(do_, v_, 'nt');
  const dS = mul(p, sub(dP, sum(mul(do_, o_), 3, true)));
  const dq = reshape(matmul(dS, k_), [B, H, tile.length, K]);
  return [dq, matmul(dS, q_, 'tn'), matmul(p, do_, 'tn')];
}

/** x with `part` added to its first places along time. */
function addToStart(x: Tensor, part: Tensor): Tensor {
  const [length, T] = [part.shape[2] as number, x.shape[2] as number];
  if (length === T) return add(x, part);
  return concat([add(slice(x, 2, 0, length), part), slice(x, 2, length, T - length)], 2);
}
