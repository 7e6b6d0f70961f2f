import { memory } from '@fourfold/runtime';
import { onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Layer, rope, ropeFrequencies, ropeTables, ropeTablesFor } from '../src/index.ts';
import { BFLOAT16, beside, checkBfloat16, checkLayer, randn, relativeError } from './helpers.ts';

/** Hugging Face's apply_rotary_pos_emb, on angles computed here: x · cos + rotate_half(x) · sin. */
function reference(x_BTHK: tf.Tensor, positions: number[], theta: number): tf.Tensor {
  const K = x_BTHK.shape[3] as number;
  const angles = positions.map((p) => Array.from({ length: K }, (_, i) => p * theta ** ((-2 * (i % (K / 2))) / K)));
  const table = (f: (angle: number) => number) => tf.expandDims(tf.tensor2d(angles.map((row) => row.map(f))), 1);
  const [first, second] = tf.split(x_BTHK, 2, 3) as [tf.Tensor, tf.Tensor];
  const rotated = tf.concat([tf.neg(second), first], 3);
  return tf.add(tf.mul(x_BTHK, table(Math.cos)), tf.mul(rotated, table(Math.sin)));
}

onBackends(() => {
  test("q and k are turned by Hugging Face's rotate_half at any positions, with its gradients; v is not", async () => {
    const side = fc.integer({ min: 1, max: 3 });
    const positions = fc.array(fc.integer({ min: 0, max: 4096 }), { minLength: 1, maxLength: 17 });
    await fc.assert(
      fc.asyncProperty(side, side, side, fc.integer({ min: 1, max: 5 }), positions, async (B, H, G, half, places) => {
        const tables = ropeTables(places, ropeFrequencies(2 * half, 1e4));
        const [T, K] = [places.length, 2 * half];
        await checkLayer({
          layer: beside(rope(tables, G), 2),
          inputs: [randn('q', [B, T, H, K]), randn('k', [B, T, G, K]), randn('v', [B, T, G, K])],
          reference: ([q, k, v]) => {
            const turned = [q, k].map((x) => reference(x as tf.Tensor, places, 1e4));
            return tf.concat([...turned, v as tf.Tensor], 2);
          },
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
  const [y, pull] = await rope(tables, 0)(x);
  pull.drop();
  const values = await y.data();
  tf.dispose([y, ...Object.values(tables)]);
  return values;
}

test('the tables belong to the caller, and may go before backward', async () => {
  await useBackend('cpu');
  const x = randn('q, k and v', [1, 3, 4, 4]);
  const tables = ropeTables([0, 1, 2], ropeFrequencies(4, 1e4));
  const [turned, pull] = await rope(tables, 1)(x);
  tf.dispose(Object.values(tables));
  const back = await pull(turned); // turned there and back
  expect(relativeError(await back.data(), await x.data())).toBeLessThan(3e-7);
  tf.dispose([x, turned, back]);
});

test('what nobody else has is turned where it lies; what somebody has, or shares, stays as it is', async () => {
  await useBackend('cpu');
  const tables = ropeTables([0, 1, 2], ropeFrequencies(4, 1e4));
  const x = randn('q, k and v', [1, 3, 4, 4]);
  const values = Array.from(await x.data());
  const own = () => tf.tidy(() => tf.add(x, 0)); // of TensorFlow's making, not of an array of JavaScript's
  const layer = rope(tables, 1);
  const [wanted, pull] = await layer(x);
  const results: number[][] = [];
  for (const shared of [false, true]) {
    const input = own();
    const other = shared ? input.clone() : undefined;
    const before = memory().bytes;
    const [y, pullOver] = await (layer.over as Layer)(input);
    expect(memory().bytes - before).toBe(shared ? 4 * x.size : 0);
    if (other) expect(Array.from(await other.data())).toEqual(values);
    results.push(Array.from(await y.data()));
    const back = (await pullOver.over?.(y)) as tf.Tensor; // takes y over
    expect(relativeError(await back.data(), values)).toBeLessThan(3e-7);
    tf.dispose(other ? [back, other] : [back]);
  }
  expect(results).toEqual([Array.from(await wanted.data()), Array.from(await wanted.data())]);
  expect(Array.from(await x.data())).toEqual(values);
  pull.drop();
  tf.dispose([x, wanted, ...Object.values(tables)]);
});

test('tables of the same positions are the same numbers in new tensors, those of others are their own', async () => {
  await useBackend('cpu');
  const frequencies = ropeFrequencies(6, 1e4);
  const tablesOf = ropeTablesFor(frequencies);
  for (const positions of [
    [0, 1, 2],
    [0, 1, 2],
    [0, 1, 7],
    [0, 1],
    [0, 1, 2],
  ]) {
    const [ours, plain] = [tablesOf(positions), ropeTables(positions, frequencies)];
    expect(await ours.cos_TK.array()).toEqual(await plain.cos_TK.array());
    expect(await ours.sin_TK.array()).toEqual(await plain.sin_TK.array());
    tf.dispose([...Object.values(ours), ...Object.values(plain)]); // the next ones live without these
  }
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

test('in bfloat16 the table, two products and their sum round', async () => {
  await useBackend('cpu');
  const tables = ropeTables([0, 1, 2, 5, 900], ropeFrequencies(6, 1e4));
  await checkBfloat16({
    layer: () => beside(rope(tables, 1), 2),
    inputs: [randn('q', [1, 5, 2, 6]), randn('k', [1, 5, 1, 6]), randn('v', [1, 5, 1, 6])],
    tolerance: 3 * BFLOAT16,
  });
  tf.dispose(Object.values(tables));
});
