/** The attention of one sequence, key by key through a cache, against softmax(q kᵀ) v of all of it by tfjs-core. */
import { useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { cachedAttention, createCache, ropeFrequencies, ropeTables } from '../src/index.ts';
import { distance, tensorOf } from './quantized.ts';

beforeAll(() => useBackend('wasm'));

test('it is softmax(q kᵀ / sqrt(K)) v of the turned q and k', async () => {
  const [T, H, K] = [12, 2, 8];
  const tables = ropeTables(
    Array.from({ length: T }, (_, t) => t),
    ropeFrequencies(K, 100),
  );
  const qkv_TJK = tensorOf('qkv', [T, 3 * H, K]);
  const cache = createCache({ slots: 1, positions: T, kvHeads: H, headDim: K, format: 'f32' });
  const rows = tf.tensor2d(
    Array.from({ length: T }, (_, t) => [0, t]),
    [T, 2],
    'int32',
  );
  const actual = cachedAttention(qkv_TJK, cache, rows, { heads: H, tables, scale: K ** -0.5 });
  const [q, k, v] = tf.split(qkv_TJK, 3, 1) as [tf.Tensor, tf.Tensor, tf.Tensor];
  const turn = (x_THK: tf.Tensor) => {
    const swapped = tf.concat(tf.split(x_THK, 2, 2).reverse(), 2);
    const [cos, sin] = [tables.cos_TK, tables.sin_TK].map((table) => tf.reshape(table, [T, 1, K]));
    return tf.transpose(tf.add(tf.mul(x_THK, cos as tf.Tensor), tf.mul(swapped, sin as tf.Tensor)), [1, 0, 2]);
  };
  const scores_HTT = tf.mul(tf.matMul(turn(q), turn(k), false, true), K ** -0.5);
  const hidden_TT = tf.sub(1, tf.linalg.bandPart(tf.ones([T, T]), -1, 0));
  const p_HTT = tf.softmax(tf.sub(scores_HTT, tf.mul(hidden_TT, 1e9)));
  const expected = tf.transpose(tf.matMul(p_HTT, tf.transpose(v, [1, 0, 2])), [1, 0, 2]);
  // wasm's float32 against float64
  expect(distance(await actual.data(), await expected.data())).toBeLessThan(2e-6);
});
