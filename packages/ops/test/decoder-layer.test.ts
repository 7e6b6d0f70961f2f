/** The two halves of a layer against the products and the attention that they consist of, to the bit. */
import { read } from '@fourfold/runtime';
import { hostInts } from '@fourfold/runtime/shapes';
import { expectNoLeak, onBackends } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import {
  type Activations,
  attentionHalf,
  cachedAttention,
  createCache,
  feedForward,
  type Packed,
  packedProduct,
  ropeFrequencies,
  ropeTables,
  type WeightFormat,
} from '../src/index.ts';
import { tensorOf, weightOf } from './quantized.ts';

const [N, D, H, G, K, F] = [5, 64, 4, 2, 32, 96];
const valuesOf = async (y: Tensor) => {
  const values = Array.from(await read(y));
  y.dispose();
  return values;
};
const CASES: [WeightFormat, Activations, qkNorm: boolean, onto: boolean][] = [
  ['q40', 'q80', false, true],
  ['q80', 'float32', true, false],
  ['bf16', 'q80', true, true],
];

onBackends(() => {
  test.each(CASES)(
    '%s weights, %s activations, norms of q and k: %s, onto: %s',
    async (format, activations, qk, onto) => {
      const weights = { qkv_JD: weightOf(format, (H + 2 * G) * K, D), out_DH: weightOf(format, D, H * K) };
      const ffn = { up_2FD: weightOf(format, 2 * F, D), down_DF: weightOf(format, D, F) };
      const tables = ropeTables([0, 1, 2, 3, 4], ropeFrequencies(K, 100));
      const [x_ND, gain_I, q_K, k_K] = [
        tensorOf('x', [N, D]),
        tensorOf('gain', [D]),
        tensorOf('q', [K]),
        tensorOf('k', [K]),
      ];
      const rows = hostInts(Int32Array.of(0, 0, 0, 1, 1, 0, 0, 2, 1, 1), [N, 2]);
      const norm = { gain_I, epsilon: 1e-5 };
      const qkNorm = qk ? { q_K, k_K, epsilon: 1e-6 } : undefined;
      const onto_ND = onto ? x_ND : undefined;
      const options = { heads: H, tables, scale: K ** -0.5, qkNorm };
      await expectNoLeak(async () => {
        const caches = [0, 1].map(() => createCache({ slots: 2, positions: 5, kvHeads: G, headDim: K, format: 'f32' }));
        const half = attentionHalf(x_ND, weights, caches[0] as (typeof caches)[0], rows, {
          activations,
          norm,
          onto_ND,
          ...options,
        });
        const parts = tf.tidy(() => {
          const qkv = packedProduct(x_ND, weights.qkv_JD, { activations, norm });
          const o = cachedAttention(qkv, caches[1] as (typeof caches)[0], rows, options);
          return packedProduct(o, weights.out_DH, { activations, onto_NO: onto_ND });
        });
        expect(await valuesOf(half)).toEqual(await valuesOf(parts));
        for (const cache of caches) cache.dispose();
      });
      await expectNoLeak(async () => {
        const parts = tf.tidy(() => {
          const hidden = packedProduct(x_ND, ffn.up_2FD, { activations, norm });
          return packedProduct(hidden, ffn.down_DF, { activations, swiglu: true, onto_NO: onto_ND });
        });
        expect(await valuesOf(feedForward(x_ND, ffn, { activations, norm, onto_ND }))).toEqual(await valuesOf(parts));
      });
      for (const w of [...Object.values(weights), ...Object.values(ffn)] as Packed[]) w.dispose();
      tf.dispose([x_ND, gain_I, q_K, k_K, rows, tables.cos_TK, tables.sin_TK]);
    },
  );
});
