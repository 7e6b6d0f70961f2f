/**
 * cached-attention.ts in plain TypeScript, one row and one head after another, in float64: what runs where there are no
 * native ops, and what these are tested against.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { Cache, CachedAttentionOptions, CacheFormat } from './cached-attention.ts';
import { dequantize, quantize } from './formats.ts';

/** See cachedAttention. */
export function stockAttention(qkv_NJ: Tensor, cache: Cache, rows_N2: Tensor, options: CachedAttentionOptions): Tensor {
  const K = cache.headDim;
  const [qkv, rows] = [qkv_NJ.dataSync(), rows_N2.dataSync()];
  const tables = { cos: options.tables.cos_TK.dataSync(), sin: options.tables.sin_TK.dataSync() };
  const gains = options.qkNorm && { q: options.qkNorm.q_K.dataSync(), k: options.qkNorm.k_K.dataSync() };
  const { heads: H, groupSize = H / cache.kvHeads, headOffset = 0, window = Number.POSITIVE_INFINITY } = options;
  const J = H + 2 * cache.kvHeads;
  const o = new Float32Array((rows.length / 2) * H * K);
  for (let n = 0; n < rows.length / 2; n++) {
    const [slot, position] = [rows[2 * n] as number, rows[2 * n + 1] as number];
    if (slot >= cache.slots || position >= cache.positions || position >= (options.tables.cos_TK.shape[0] ?? 0))
      throw new RangeError("a row's slot or position is not one of the cache's");
    const head = (j: number) => Array.from(qkv.subarray((n * J + j) * K, (n * J + j + 1) * K));
    const ready = (j: number, gain?: ArrayLike<number>) =>
      turned(gain ? normed(head(j), gain, options.qkNorm?.epsilon ?? 0) : head(j), position, tables);
    for (let g = 0; g < cache.kvHeads; g++) {
      cacheRow(cache, slot, g, position).set(asCached(ready(H + g, gains?.k), cache.format));
      const v = asCached(head(H + cache.kvHeads + g), cache.format);
      cacheRow(cache, slot, cache.kvHeads + g, position).set(v);
    }
    for (let h = 0; h < H; h++) {
      const g = Math.floor((h + headOffset) / groupSize);
      const seen = { slot, first: Math.max(0, position + 1 - window), last: position };
      o.set(look(cache, ready(h, gains?.q), g, seen, options), (n * H + h) * K);
    }
  }
  return tf.tensor2d(o, [rows.length / 2, H * K]);
}

/** Keys of head g at a position; values: those are heads G and on. */
function cacheRow({ values, kvHeads, positions, headDim }: Cache, slot: number, head: number, position: number) {
  const at = ((slot * 2 * kvHeads + head) * positions + position) * headDim;
  return (values as Float32Array).subarray(at, at + headDim);
}

/** The numbers as the cache keeps them. */
const asCached = (x: number[], format: CacheFormat): Float32Array =>
  format === 'f32' ? Float32Array.from(x) : roundedIn(format, Float32Array.from(x));

/** x as it comes out of the format again. */
function roundedIn(format: CacheFormat, x: Float32Array): Float32Array {
  const padded = new Float32Array(Math.ceil(x.length / 32) * 32);
  padded.set(x);
  return dequantize(format, quantize(format, padded)).subarray(0, x.length);
}

/** RMSNorm of one head. */
function normed(x: number[], gain: ArrayLike<number>, epsilon: number): number[] {
  const squares = x.reduce((sum, value) => sum + value * value, 0);
  const r = 1 / Math.sqrt(squares / x.length + epsilon);
  return x.map((value, i) => value * r * (gain[i] as number));
}

/** RoPE of one head: each dimension with its partner half a head away. */
function turned(x: number[], position: number, { cos, sin }: { cos: ArrayLike<number>; sin: ArrayLike<number> }) {
  const K = x.length;
  const partner = (i: number) => x[(i + K / 2) % K] as number;
  return x.map(
    (value, i) => value * (cos[position * K + i] as number) + partner(i) * (sin[position * K + i] as number),
  );
}

/** Which positions of which sequence a query sees. */
interface Seen {
  readonly slot: number;
  readonly first: number;
  readonly last: number;
}

/** One query's o: softmax of its scores, times the values. */
function look(cache: Cache, q: number[], g: number, { slot, first, last }: Seen, options: CachedAttentionOptions) {
  const { scale, softcap } = options;
  const scores = Array.from({ length: last + 1 - first }, (_, j) => {
    const k = cacheRow(cache, slot, g, first + j);
    const score = q.reduce((sum, value, d) => sum + value * (k[d] as number), 0) * scale;
    return softcap ? softcap * Math.tanh(score / softcap) : score;
  });
  const most = scores.reduce((a, b) => Math.max(a, b));
  const weights = scores.map((score) => Math.exp(score - most));
  const total = weights.reduce((a, b) => a + b);
  const o = new Float64Array(cache.headDim);
  for (const [j, weight] of weights.entries()) {
    const v = cacheRow(cache, slot, cache.kvHeads + g, first + j);
    for (let d = 0; d < o.length; d++) o[d] = (o[d] as number) + (weight / total) * (v[d] as number);
  }
  return o;
}

/** See copyCache. */
export function stockCopy(cache: Cache, from: number, to: number, length: number): void {
  if (from >= cache.slots || to >= cache.slots || length > cache.positions)
    throw new RangeError('no such slots or positions in this cache');
  for (let head = 0; head < 2 * cache.kvHeads; head++)
    for (let position = 0; position < length; position++)
      cacheRow(cache, to, head, position).set(cacheRow(cache, from, head, position));
}
