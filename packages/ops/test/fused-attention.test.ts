/**
 * The fused attention of a block against the same equations in float64: for any ratio of heads, with lengths on both
 * sides of a tile's 64 and head dimensions on both sides of a panel's 16; with scores in the hundreds; and with NaN.
 */
import { useBackend } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import * as fused from '../src/fused.ts';
import { at, expectValues, type Input, placesOfNaN, random, range, run, type Values } from './float64.ts';
import type { AttentionShape } from './helpers.ts';

beforeAll(() => useBackend('cpu'));

type Inputs = [q: Input, k: Input, v: Input, dO: Input];

/** A result that is added up, and the sizes of what is added. */
interface Sums {
  readonly values: Float64Array;
  readonly sizes: Float64Array;
}

const scaleOf = (K: number): number => K ** -0.5;

/** Scores have a standard deviation of about `std`. */
const inputsOf = ({ B, G, R, T, S, K }: AttentionShape, std = 1): Inputs => [
  random('q', [B, T, G * R, K], std),
  random('k', [B, S, G, K]),
  random('v', [B, S, G, K]),
  random('do', [B, T, G * R, K]),
];

/** [o, lse, dq, dk, dv] of one block that is all there is. */
const attentionAndGrad =
  (causal: boolean) =>
  (...inputs: Tensor[]): Tensor[] => {
    const [q, k, v, dO] = inputs as [Tensor, Tensor, Tensor, Tensor];
    const form = { causal, scale: scaleOf(q.shape[3] as number), deterministic: true };
    const [o, lse] = fused.attention([q, k, v], form);
    return [o, lse, ...fused.attentionGrad([q, k, v], { o, lse, dO }, form)];
  };

/** The same of q, k and v as heads of one tensor, which needs as many keys as queries. */
const joinedAttentionAndGrad =
  (causal: boolean) =>
  (...inputs: Tensor[]): Tensor[] =>
    tf.tidy(() => {
      const [q, k, v, dO] = inputs as [Tensor, Tensor, Tensor, Tensor];
      const [H, kvHeads, K] = [q.shape[2] as number, k.shape[2] as number, q.shape[3] as number];
      const form = { causal, scale: scaleOf(K), kvHeads, deterministic: true };
      const qkv = tf.concat([q, k, v], 2);
      const [o, lse] = fused.attention([qkv], form);
      const [dqkv] = fused.attentionGrad([qkv], { o, lse, dO }, form);
      return [o, lse, ...tf.split(dqkv, [H, kvHeads, kvHeads], 2)];
    });

/**
 * The same in float64, and the sizes of what is added up, since dS is a difference of numbers that may nearly cancel.
 * A score s is rounded by some 6e-8 · s, and every probability is off by as much of itself: the sizes count that too.
 */
function attentionInFloat64(shape: AttentionShape, inputs: Inputs, causal: boolean): [Float64Array[], Float64Array[]] {
  const { B, G, R, T, S, K } = shape;
  const [H, scale] = [G * R, scaleOf(K)];
  const [q, k, v, dO] = inputs.map((x) => x.values) as [Float32Array, Float32Array, Float32Array, Float32Array];
  const sumsOf = (length: number) => ({ values: new Float64Array(length), sizes: new Float64Array(length) });
  const all = [q.length, B * G * R * T, q.length, k.length, k.length].map(sumsOf) as [Sums, Sums, Sums, Sums, Sums];
  const [o, lse, dq, dk, dv] = all;
  const add = ({ values, sizes }: Sums, i: number, x: number, size: number) => {
    values[i] = at(values, i) + x;
    sizes[i] = at(sizes, i) + Math.abs(size);
  };
  const dot = (x: Float32Array, i: number, y: Float32Array, j: number) => {
    let sum = 0;
    for (let d = 0; d < K; d++) sum += at(x, i * K + d) * at(y, j * K + d);
    return sum;
  };
  for (let n = 0; n < B * T * H; n++) {
    const [b, t, h] = [Math.floor(n / (T * H)), Math.floor(n / H) % T, n % H];
    const g = Math.floor(h / R);
    const keys = range(0, causal ? t + 1 : S).map((s) => (b * S + s) * G + g); // rows of k
    const scores = keys.map((key) => scale * dot(q, n, k, key));
    const most = Math.max(...scores);
    const logSum = most + Math.log(scores.reduce((sum, s) => sum + Math.exp(s - most), 0));
    const rounding = Math.max(1, ...scores.map(Math.abs));
    add(lse, (b * H + h) * T + t, logSum, rounding);
    const p = scores.map((s) => Math.exp(s - logSum));
    const dP = keys.map((key) => dot(dO, n, v, key));
    const D = p.reduce((sum, p, j) => sum + p * at(dP, j), 0);
    const DSize = Math.max(...dP.map(Math.abs));
    for (const [j, key] of keys.entries())
      for (let d = 0; d < K; d++) {
        const [i, from, P] = [n * K + d, key * K + d, at(p, j)];
        const [dS, dSSize] = [scale * P * (at(dP, j) - D), scale * P * (Math.abs(at(dP, j)) + DSize) * rounding];
        add(o, i, P * at(v, from), P * at(v, from) * rounding);
        add(dq, i, dS * at(k, from), dSSize * at(k, from));
        add(dk, from, dS * at(q, i), dSSize * at(q, i));
        add(dv, from, P * at(dO, i), P * at(dO, i) * rounding);
      }
  }
  return [all.map((x) => x.values), all.map((x) => x.sizes)];
}

const upTo = (max: number) => fc.integer({ min: 1, max });
const shapes = fc.record({
  ...{ B: upTo(2), G: upTo(2), R: upTo(3), K: fc.constantFrom(1, 2, 5, 8, 16, 19, 32) },
  ...{ T: upTo(100), S: upTo(100) },
});

test('attention and its gradients are those of float64 for any shape, also for scores of ±400', async () => {
  const check = async (drawn: AttentionShape, causal: boolean, std: number) => {
    const shape = causal ? { ...drawn, S: drawn.T } : drawn;
    const inputs = inputsOf(shape, std);
    expectValues(await run(attentionAndGrad(causal), ...inputs), ...attentionInFloat64(shape, inputs, causal));
  };
  await fc.assert(fc.asyncProperty(shapes, fc.boolean(), fc.constantFrom(1, 100), check), { numRuns: 20 });
});

test('heads of one tensor give the same bits as tensors of their own', async () => {
  const check = async (drawn: AttentionShape, causal: boolean) => {
    const inputs = inputsOf({ ...drawn, S: drawn.T });
    const [joined, apart] = [joinedAttentionAndGrad(causal), attentionAndGrad(causal)];
    expect(await run(joined, ...inputs)).toEqual(await run(apart, ...inputs));
  };
  await fc.assert(fc.asyncProperty(shapes, fc.boolean(), check), { numRuns: 15 });
});

test('the edges of a tile: lengths of 1, 16, 63 to 65 and 128', async () => {
  for (const T of [1, 16, 63, 64, 65, 128])
    for (const causal of [true, false]) {
      const shape = { B: 1, G: 1, R: 2, T, S: causal ? T : 129 - T, K: 16 };
      const inputs = inputsOf(shape);
      expectValues(await run(attentionAndGrad(causal), ...inputs), ...attentionInFloat64(shape, inputs, causal));
    }
});

test('no queries at all: no outputs, and gradients of 0 for keys and values', async () => {
  const [o, lse, dq, dk, dv] = await run(attentionAndGrad(false), ...inputsOf({ B: 1, G: 1, R: 2, T: 0, S: 3, K: 2 }));
  expect([o, lse, dq].map((values) => values?.length)).toEqual([0, 0, 0]);
  expect([dk, dv].map((values) => Array.from(values as Values))).toEqual([Array(6).fill(0), Array(6).fill(0)]);
});

test('the same bits again, and again', async () => {
  const inputs = inputsOf({ B: 3, G: 2, R: 2, T: 100, S: 100, K: 24 });
  const first = await run(attentionAndGrad(true), ...inputs);
  for (let i = 0; i < 20; i++) {
    const again = await run(attentionAndGrad(true), ...inputs);
    expect(again.map((values, j) => Array.from(values).every((x, n) => x === first[j]?.[n]))).toEqual(
      again.map(() => true),
    );
  }
});

// ## What is not a number

/** The rows, of `width` each, in which NaN stands. */
const rowsOfNaN = (values: Values | undefined, width: number): number[] => [
  ...new Set(placesOfNaN(values).map((i) => Math.floor(i / width))),
];

test('NaN stays NaN: that of a query in its row, that of a key wherever it is seen', async () => {
  const [T, K] = [100, 6];
  for (const place of [3, 64, 70, 99]) {
    const [q, k, v, dO] = inputsOf({ B: 1, G: 1, R: 1, T, S: T, K });
    const broken = (x: Input): Input => ({ ...x, values: x.values.map((y, i) => (i === place * K + 2 ? NaN : y)) });
    const rows = async (...inputs: Inputs) =>
      (await run(attentionAndGrad(true), ...inputs)).map((values, i) => rowsOfNaN(values, i === 1 ? 1 : K));
    const [o, lse, dq, dk, dv] = await rows(broken(q), k, v, dO);
    expect([o, lse, dq]).toEqual([[place], [place], [place]]);
    for (const seen of [dk, dv]) expect(seen).toEqual(expect.arrayContaining(range(0, place + 1)));
    const [ofKey, lseOfKey] = await rows(q, broken(k), v, dO);
    expect([ofKey, lseOfKey]).toEqual([range(place, T), range(place, T)]);
    const [ofValue, lseOfValue] = await rows(q, k, broken(v), dO);
    expect(ofValue).toEqual(expect.arrayContaining(range(place, T)));
    expect(lseOfValue).toEqual([]);
  }
});
