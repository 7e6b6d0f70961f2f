import { cast } from '@fourfold/runtime';
import { onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { rope, ropeFrequencies, ropeTables } from '../src/index.ts';
import { BFLOAT16, checkBfloat16, checkLayer, randn, relativeError, single } from './helpers.ts';

/** Hugging Face's apply_rotary_pos_emb, on angles computed here: x · cos + rotate_half(x) · sin. */
function reference(x_BHTK: tf.Tensor, positions: number[], theta: number): tf.Tensor {
  const K = x_BHTK.shape[3] as number;
  const angles = positions.map((p) => Array.from({ length: K }, (_, i) => p * theta ** ((-2 * (i % (K / 2))) / K)));
  const [first, second] = tf.split(x_BHTK, 2, 3) as [tf.Tensor, tf.Tensor];
  const rotated = tf.concat([tf.neg(second), first], 3);
  const [cos, sin] = [Math.cos, Math.sin].map((f) => tf.tensor2d(angles.map((row) => row.map(f)))) as [
    tf.Tensor,
    tf.Tensor,
  ];
  return tf.add(tf.mul(x_BHTK, cos), tf.mul(rotated, sin));
}

onBackends(() => {
  test("rope is Hugging Face's rotate_half at any list of positions, with tf.grads' gradients", async () => {
    const side = fc.integer({ min: 1, max: 3 });
    const positions = fc.array(fc.integer({ min: 0, max: 4096 }), { minLength: 1, maxLength: 17 });
    await fc.assert(
      fc.asyncProperty(side, side, fc.integer({ min: 1, max: 5 }), positions, async (B, H, half, positions_T) => {
        const tables = ropeTables(positions_T, ropeFrequencies(2 * half, 1e4));
        await checkLayer({
          layer: single(rope(tables)),
          inputs: [randn('x', [B, H, positions_T.length, 2 * half])],
          reference: ([x]) => reference(x as tf.Tensor, positions_T, 1e4),
        });
        tf.dispose(Object.values(tables));
      }),
      { numRuns: 15 },
    );
  });

  test('turning keeps lengths, and the product of two turned vectors depends on their distance alone', async () => {
    const [q, k] = [randn('q', [1, 1, 1, 8]), randn('k', [1, 1, 1, 8])];
    const at = (x: tf.Tensor, position: number) => turned(x, position);
    const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
      Array.from(a).reduce((s, x, i) => s + x * (b[i] ?? 0), 0);
    const near = dot(await at(q, 7), await at(k, 3));
    const far = dot(await at(q, 2007), await at(k, 2003));
    expect(far).toBeCloseTo(near, 5); // products of some units, of eight terms that round to 6e-8 each
    expect(Math.abs(dot(await at(q, 7), await at(k, 4)) - near)).toBeGreaterThan(0.01);
    expect(dot(await at(q, 1234), await at(q, 1234))).toBeCloseTo(dot(await q.data(), await q.data()), 5);
    tf.dispose([q, k]);
  });
});

async function turned(x: tf.Tensor, position: number): Promise<ArrayLike<number>> {
  const tables = ropeTables([position], ropeFrequencies(8, 1e4));
  const [y, pull] = await rope(tables)(x);
  pull.drop();
  const values = await y.data();
  tf.dispose([y, ...Object.values(tables)]);
  return values;
}

test('the tables belong to the caller, and may go before backward', async () => {
  await useBackend('cpu');
  const x = randn('x', [1, 2, 3, 4]);
  const tables = ropeTables([0, 1, 2], ropeFrequencies(4, 1e4));
  const [y, pull] = await rope(tables)(x);
  tf.dispose(Object.values(tables));
  const back = await pull(y); // turned there and back
  expect(relativeError(await back.data(), await x.data())).toBeLessThan(3e-7);
  tf.dispose([x, y, back]);
});

test("with Llama 3's scaling the frequencies are those of transformers 5.23", () => {
  // ROPE_INIT_FUNCTIONS['llama3'] for Llama 3.2 1B, heads of 64 dimensions: by pair, in float32.

  const theirs = {
    0: 1,
    10: 0.0165604409,
    14: 0.00321144611,
    15: 0.00129054801,
    16: 0.000429556705,
    17: 9.70828623e-5,
    18: 1.94616387e-5,
    31: 9.41830649e-8,
  };
  const scaling = { factor: 32, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192 };
  const frequencies = ropeFrequencies(64, 5e5, scaling);
  const plain = ropeFrequencies(64, 5e5);
  for (const [pair, expected] of Object.entries(theirs))
    expect((frequencies[Number(pair)] as number) / expected).toBeCloseTo(1, 6);
  expect(frequencies.slice(0, 15)).toEqual(plain.slice(0, 15)); // short waves stay
  expect(frequencies.slice(18)).toEqual(plain.slice(18).map((f) => f / 32)); // long ones are stretched 32 times
});

test('in bfloat16, two products and their sum round', async () => {
  await useBackend('cpu');
  const tables = ropeTables([0, 1, 2, 5, 900], ropeFrequencies(6, 1e4), 'bfloat16');
  const wide = { cos_TK: cast(tables.cos_TK, 'float32'), sin_TK: cast(tables.sin_TK, 'float32') };
  await checkBfloat16({
    layer: (_, dtype) => single(rope(dtype === 'bfloat16' ? tables : wide)),
    inputs: [randn('x', [1, 2, 5, 6])],
    tolerance: 2 * BFLOAT16,
  });
  tf.dispose([tables, wide].flatMap(Object.values));
});
