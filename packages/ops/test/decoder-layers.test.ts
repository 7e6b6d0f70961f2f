/** Layers in one op against the two ops a layer, to the bit. */
import { read } from '@fourfold/runtime';
import { hostInts } from '@fourfold/runtime/shapes';
import { expectNoLeak, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import {
  type Activations,
  areAlike,
  attentionHalf,
  type Cache,
  createCache,
  type DecoderLayer,
  decoderLayers,
  feedForward,
  ropeFrequencies,
  ropeTables,
  type WeightFormat,
} from '../src/index.ts';
import { tensorOf, weightOf } from './quantized.ts';

const [LAYERS, D, H, G, K, F, P] = [3, 64, 4, 2, 32, 96, 6];
const SHAPE = { heads: H, scale: K ** -0.5 };
const EPSILON = 1e-5;
/** A prompt of four rows in one slot and one in another; then both go on. */
const STEPS = [
  [0, 0, 0, 1, 1, 0, 0, 2, 0, 3],
  [1, 1, 0, 4],
];

beforeAll(() => useBackend('cpu'));

function layerOf(format: WeightFormat, qk: boolean): DecoderLayer {
  return {
    inputNorm_D: tensorOf('input', [D]),
    attention: { qkv_JD: weightOf(format, (H + 2 * G) * K, D), out_DH: weightOf(format, D, H * K) },
    qkNorm: qk ? { q_K: tensorOf('q', [K]), k_K: tensorOf('k', [K]) } : undefined,
    postNorm_D: tensorOf('post', [D]),
    feedForward: { up_2FD: weightOf(format, 2 * F, D), down_DF: weightOf(format, D, F) },
  };
}

const newCaches = () =>
  Array.from({ length: LAYERS }, () => createCache({ slots: 2, positions: P, kvHeads: G, headDim: K, format: 'q80' }));

test.each<[WeightFormat, Activations, qkNorm: boolean]>([
  ['q40', 'q80', false],
  ['q80', 'float32', true],
  ['f32', 'float32', false],
])('%s weights, %s activations, norms of q and k: %s', async (format, activations, qk) => {
  const layers = Array.from({ length: LAYERS }, () => layerOf(format, qk));
  expect(areAlike(layers)).toBe(true);
  const tables = ropeTables([0, 1, 2, 3, 4, 5], ropeFrequencies(K, 100));
  const one = (x: tf.Tensor, caches: readonly Cache[], rows: tf.Tensor) =>
    decoderLayers(x, layers, caches, rows, { ...SHAPE, tables, activations, epsilon: EPSILON });
  const many = (x: tf.Tensor, caches: readonly Cache[], rows: tf.Tensor) => {
    let y = x;
    for (const [i, { inputNorm_D, attention, qkNorm, postNorm_D, feedForward: own }] of layers.entries()) {
      const before = { activations, norm: { gain_I: inputNorm_D, epsilon: EPSILON }, onto_ND: y };
      const normed = { ...SHAPE, tables, qkNorm: qkNorm && { ...qkNorm, epsilon: EPSILON } };
      y = attentionHalf(y, attention, caches[i] as Cache, rows, { ...before, ...normed });
      y = feedForward(y, own, { activations, norm: { gain_I: postNorm_D, epsilon: EPSILON }, onto_ND: y });
    }
    return y;
  };
  await expectNoLeak(async () => {
    const [alone, together] = [newCaches(), newCaches()];
    for (const [i, step] of STEPS.entries()) {
      const rows = hostInts(Int32Array.from(step), [step.length / 2, 2]);
      const x = tensorOf(`x${i}`, [step.length / 2, D]);
      const [left, right] = tf.tidy(() => [one(x, together, rows), many(x, alone, rows)]) as [tf.Tensor, tf.Tensor];
      expect(Array.from(await read(left))).toEqual(Array.from(await read(right)));
      tf.dispose([left, right, x, rows]);
    }
    for (const cache of [...alone, ...together]) cache.dispose();
  });
});

test('layers of other shapes, formats or norms are not alike', () => {
  expect(areAlike([layerOf('q40', false), layerOf('q40', true)])).toBe(false);
  expect(areAlike([layerOf('q40', false), layerOf('q80', false)])).toBe(false);
  expect(areAlike([])).toBe(false);
});

test('what does not fit is refused', () => {
  const layers = [layerOf('q40', false), layerOf('q80', false)];
  const caches = newCaches().slice(0, 2);
  const options = { ...SHAPE, tables: ropeTables([0], ropeFrequencies(K, 100)), epsilon: EPSILON };
  const rows = hostInts(Int32Array.of(0, 0), [1, 2]);
  const run = (width: number) =>
    decoderLayers(tensorOf('x', [1, width]), layers, caches, rows, { ...options, activations: 'q80' });
  expect(() => run(D)).toThrow('FourfoldDecoderLayers needs');
  expect(() => run(D + 32)).toThrow('FourfoldDecoderLayers needs');
});
