/** Until the packed kernels are here: the same functions by tfjs-core, from float32 weights. */
import { dequantizeBlocks } from '@fourfold/checkpoint';
import { kernels } from '@fourfold/ops';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

export type WeightFormat = 'f32' | 'bf16' | 'q40' | 'q41' | 'q80';
export type CacheFormat = 'f32' | 'bf16' | 'q80';
export type Activations = 'float32' | 'q80';

export interface Packed {
  readonly format: WeightFormat;
  readonly rows: number;
  readonly columns: number;
  readonly value: Tensor;
  dispose(): void;
}

export function packWeight(format: WeightFormat, rows: number, columns: number, bytes: Uint8Array): Packed {
  const value = tf.tensor2d(dequantize(format, bytes), [rows, columns]);
  return { format, rows, columns, value, dispose: () => value.dispose() };
}

export function dequantize(format: WeightFormat, bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out: number[] = [];
  const half = (at: number) => {
    const h = view.getUint16(at, true);
    const e = (h >> 10) & 31;
    const f = h & 1023;
    return (h >> 15 ? -1 : 1) * (e ? 2 ** (e - 15) * (1 + f / 1024) : 2 ** -24 * f);
  };
  if (format === 'f32') return new Float32Array(bytes.slice().buffer);
  if (format === 'bf16')
    return new Float32Array(
      Uint32Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true) << 16).buffer,
    );
  const size = { q40: 18, q41: 20, q80: 34 }[format];
  const result = new Float32Array((bytes.length / size) * 32);
  for (let b = 0, at = 0; at < bytes.length; b += 32, at += size) {
    const d = half(at);
    for (let i = 0; i < 32; i++) {
      if (format === 'q80') result[b + i] = d * view.getInt8(at + 2 + i);
      else {
        const byte = view.getUint8(at + (format === 'q40' ? 2 : 4) + (i % 16));
        const q = i < 16 ? byte & 15 : byte >> 4;
        result[b + i] = format === 'q40' ? d * (q - 8) : d * q + half(at + 2);
      }
    }
  }
  void out;
  void dequantizeBlocks;
  return result;
}

export function quantize(format: WeightFormat, values: Float32Array): Uint8Array {
  if (format === 'f32') return new Uint8Array(values.slice().buffer);
  throw new Error(`quantize to ${format} is not here yet`);
}

export interface ProductOptions {
  readonly activations: Activations;
  readonly norm?: { readonly gain_I: Tensor; readonly epsilon: number } | undefined;
  readonly swiglu?: boolean | undefined;
  readonly onto_NO?: Tensor | undefined;
}

const normed = (x: Tensor, gain: Tensor, epsilon: number): Tensor =>
  tf.mul(tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon))), gain);

export function packedProduct(x_NI: Tensor, w_OI: Packed, { norm, swiglu, onto_NO }: ProductOptions): Tensor {
  return tf.tidy(() => {
    let x = norm ? normed(x_NI, norm.gain_I, norm.epsilon) : x_NI;
    if (swiglu) {
      const [gate, up] = tf.split(x, 2, 1) as [Tensor, Tensor];
      x = tf.mul(tf.mul(gate, tf.sigmoid(gate)), up);
    }
    const y = kernels.matmul(x, w_OI.value, 'nt');
    return onto_NO ? tf.add(onto_NO, y) : y;
  });
}

export interface Cache {
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly positions: number;
  readonly kvHeads: number;
  readonly headDim: number;
  dispose(): void;
}

export interface CacheShape {
  readonly slots: number;
  readonly positions: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly format: CacheFormat;
}

export function createCache({ slots, positions, kvHeads, headDim }: CacheShape): Cache {
  const size = slots * positions * kvHeads * headDim;
  return { k: new Float32Array(size), v: new Float32Array(size), positions, kvHeads, headDim, dispose: () => {} };
}

export function copyCache(cache: Cache, from: number, to: number, length: number): void {
  const row = cache.kvHeads * cache.headDim;
  for (const part of [cache.k, cache.v])
    part.copyWithin(to * cache.positions * row, from * cache.positions * row, (from * cache.positions + length) * row);
}

export interface AttentionOptions {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headOffset: number;
  readonly groupSize: number;
  readonly rope: { readonly cos_TK: Tensor; readonly sin_TK: Tensor };
  readonly qkNorm?: { readonly q_K: Tensor; readonly k_K: Tensor; readonly epsilon: number } | undefined;
  readonly window?: number | undefined;
  readonly scale: number;
  readonly softcap?: number | undefined;
}

export function cachedAttention(qkv_NJK: Tensor, cache: Cache, rows_N2: Tensor, o: AttentionOptions): Tensor {
  const [N, , K] = qkv_NJK.shape as [number, number, number];
  const { heads, kvHeads } = o;
  const [qk, rows] = [qkv_NJK.dataSync(), rows_N2.dataSync()];
  const [cos, sin] = [o.rope.cos_TK.dataSync(), o.rope.sin_TK.dataSync()];
  const out = new Float32Array(N * heads * K);
  const head = (n: number, j: number): Float32Array => {
    let x = Float32Array.from(
      qk.subarray((n * (heads + 2 * kvHeads) + j) * K, (n * (heads + 2 * kvHeads) + j + 1) * K),
    );
    if (j >= heads + kvHeads) return x;
    if (o.qkNorm) {
      const gain = (j < heads ? o.qkNorm.q_K : o.qkNorm.k_K).dataSync();
      const r = 1 / Math.sqrt(x.reduce((a, b) => a + b * b, 0) / K + o.qkNorm.epsilon);
      x = x.map((value, i) => value * r * (gain[i] as number));
    }
    const p = rows[2 * n + 1] as number;
    return x.map(
      (value, i) => value * (cos[p * K + i] as number) + (x[(i + K / 2) % K] as number) * (sin[p * K + i] as number),
    );
  };
  const at = (slot: number, p: number, g: number) => ((slot * cache.positions + p) * kvHeads + g) * K;
  for (let n = 0; n < N; n++) {
    const [slot, p] = [rows[2 * n] as number, rows[2 * n + 1] as number];
    for (let g = 0; g < kvHeads; g++) {
      cache.k.set(head(n, heads + g), at(slot, p, g));
      cache.v.set(head(n, heads + kvHeads + g), at(slot, p, g));
    }
  }
  for (let n = 0; n < N; n++) {
    const [slot, p] = [rows[2 * n] as number, rows[2 * n + 1] as number];
    for (let h = 0; h < heads; h++) {
      const q = head(n, h);
      const g = Math.floor((h + o.headOffset) / o.groupSize);
      const first = o.window ? Math.max(0, p - o.window + 1) : 0;
      const scores: number[] = [];
      for (let t = first; t <= p; t++) {
        let s = 0;
        for (let i = 0; i < K; i++) s += (q[i] as number) * (cache.k[at(slot, t, g) + i] as number);
        s *= o.scale;
        scores.push(o.softcap ? o.softcap * Math.tanh(s / o.softcap) : s);
      }
      const most = Math.max(...scores);
      const weights = scores.map((s) => Math.exp(s - most));
      const total = weights.reduce((a, b) => a + b);
      for (let i = 0; i < K; i++) {
        let y = 0;
        for (let t = first; t <= p; t++) y += (weights[t - first] as number) * (cache.v[at(slot, t, g) + i] as number);
        out[(n * heads + h) * K + i] = y / total;
      }
    }
  }
  return tf.tensor3d(out, [N, heads, K]);
}

export interface Best {
  readonly ids: Int32Array;
  readonly values: Float32Array;
  readonly logSumExp: number;
}

export function bestLogits(values: Float32Array, k: number): Best {
  const ids = Int32Array.from(values.keys()).sort((a, b) => (values[b] as number) - (values[a] as number) || a - b);
  const most = values[ids[0] as number] as number;
  const kept = ids.slice(0, k);
  const sum = values.reduce((a, value) => a + Math.exp(value - most), 0);
  return { ids: kept, values: Float32Array.from(kept, (id) => values[id] as number), logSumExp: most + Math.log(sum) };
}

export interface ExpertsOptions extends ProductOptions {
  readonly active: number;
  /** Whether the chosen experts' weights are made to add up to one. */
  readonly normalized: boolean;
  readonly gate: 'silu' | 'gelu';
}

export function expertsProduct(
  x_ND: Tensor,
  logits_NE: Tensor,
  experts: readonly { readonly gateUp: Packed; readonly down: Packed }[],
  { active, normalized, gate, norm, onto_NO }: ExpertsOptions,
): Tensor {
  const E = experts.length;
  const logits = logits_NE.dataSync();
  const N = x_ND.shape[0] as number;
  return tf.tidy(() => {
    const x = norm ? normed(x_ND, norm.gain_I, norm.epsilon) : x_ND;
    const rows = Array.from({ length: N }, (_, n) => {
      const row = Array.from(logits.subarray(n * E, n * E + E));
      const most = Math.max(...row);
      const powers = row.map((value) => Math.exp(value - most));
      const total = powers.reduce((a, b) => a + b);
      const order = row.map((_, e) => e).sort((a, b) => (row[b] as number) - (row[a] as number) || a - b);
      const chosen = order.slice(0, active);
      const share = normalized ? chosen.reduce((a, e) => a + (powers[e] as number), 0) : total;
      const one = tf.slice(x, [n, 0], [1, -1]);
      const outs = chosen.map((e) => {
        const { gateUp, down } = experts[e] as { gateUp: Packed; down: Packed };
        const [g, u] = tf.split(tf.matMul(one, gateUp.value, false, true), 2, 1) as [Tensor, Tensor];
        const a =
          gate === 'silu'
            ? tf.mul(g, tf.sigmoid(g))
            : tf.mul(
                tf.mul(g, 0.5),
                tf.add(
                  1,
                  tf.tanh(tf.mul(Math.sqrt(2 / Math.PI), tf.add(g, tf.mul(0.044715, tf.mul(g, tf.mul(g, g)))))),
                ),
              );
        return tf.mul(tf.matMul(tf.mul(a, u), down.value, false, true), (powers[e] as number) / share);
      });
      return tf.addN(outs);
    });
    const y = tf.concat(rows, 0);
    return onto_NO ? tf.add(onto_NO, y) : y;
  });
}
