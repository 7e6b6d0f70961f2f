/**
 * The fused ops of both ends of a model, the embedding's gradient and the loss, against the same equations in float64;
 * that they work in the memory they are given; and targets and ids that don't exist.
 */
import { memory } from '@fourfold/runtime';
import { expectNoLeak, useBackend } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import * as fused from '../src/fused.ts';
import {
  at,
  expectValues,
  fill,
  type Input,
  largest,
  lossInFloat64,
  random,
  run,
  sumOf,
  type Values,
} from './float64.ts';
import { integers } from './helpers.ts';

beforeAll(() => useBackend('cpu'));

const RUNS = { numRuns: 30 };

/** Runs an op whose last input are whole numbers. One that writes over x changes these numbers of x. */
const runWithInts = (op: (x: Tensor, ints: Tensor) => Tensor[], x: Input, numbers: number[]): Promise<Values[]> =>
  run((x) => {
    const ints = tf.tensor1d(numbers, 'int32');
    const results = op(x as Tensor, ints);
    ints.dispose();
    return results;
  }, x);

// ## The loss

const lossAndGradient = (weight: number) => (logits: Tensor, targets: Tensor) =>
  fused.crossEntropy(logits, targets, true, weight);

test('crossEntropy and its gradient are those of float64, for logits from ±1 to ±100', async () => {
  // a row is added up in blocks of 1,024, of which any may have the largest logit
  const V = fc.oneof(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 1000, max: 5000 }));
  const check = async (C: number, V: number, std: number, weight: number) => {
    const [logits, targets] = [random('logits', [C, V], std), integers('targets', C, V)];
    const [losses, dlogits] = lossInFloat64(logits, targets, weight);
    const sizes = [fill(C, () => Math.max(1, largest(logits.values))), fill(C * V, () => weight)];
    expectValues(await runWithInts(lossAndGradient(weight), logits, targets), [losses, dlogits], sizes);
  };
  const std = fc.constantFrom(1, 10, 30);
  await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 20 }), V, std, fc.constantFrom(1, 0.125, 3), check), RUNS);
});

test('logits that grow and logits that fall by hundreds, through several blocks', async () => {
  for (const sign of [1, -1]) {
    const logits = { values: Float32Array.from({ length: 6000 }, (_, i) => sign * (i % 3000)), shape: [2, 3000] };
    const [losses, dlogits] = await runWithInts(lossAndGradient(1), logits, [2999, 0]);
    const sure = Math.log(1 / (1 - Math.exp(-1))); // of 1 + e^-1 + e^-2 + ...
    const [grown, fallen] = [sure, sure + 2999];
    expectValues([losses as Values], [sign > 0 ? [grown, fallen] : [fallen, grown]]);
    expect(largest(dlogits as Values)).toBeCloseTo(1, 6);
  }
});

test('dlogits lie where the logits lay, and are counted once; without gradients there are none', async () => {
  await expectNoLeak(async () => {
    const [logits, targets] = [tf.fill([4, 1000], 0), tf.fill([4], 7, 'int32')];
    const before = memory().bytes;
    const [alone, none] = fused.crossEntropy(logits, targets, false, 1);
    expect([none.shape, await logits.data()]).toEqual([[0], new Float32Array(4000)]);
    tf.dispose([alone, none]);
    const [losses, dlogits] = fused.crossEntropy(logits, targets, true, 1);
    expect(memory().bytes - before).toBe(4 * 4); // the losses
    expect(await logits.data()).toEqual(await dlogits.data());
    logits.dispose();
    expect(memory().bytes - before).toBe(4 * 4);
    tf.dispose([losses, dlogits]);
    expect(memory().bytes - before).toBe(-4 * 4000);
    targets.dispose();
  });
});

test('a target that is no word gives a loss of NaN, and nothing outside its row is written', async () => {
  const logits = random('logits', [4, 50]);
  const [wanted] = lossInFloat64(logits, [3, 0, 0, 0], 1);
  const all = [3, -1, 50, 2 ** 31 - 1];
  const [losses, dlogits] = (await runWithInts(lossAndGradient(1), logits, all)) as [Values, Values];
  expect(Array.from(losses, Number.isNaN)).toEqual([false, true, true, true]);
  expect(at(losses, 0)).toBeCloseTo(at(wanted, 0), 5);
  for (const c of [1, 2, 3]) expect(sumOf(50, (v) => at(dlogits, c * 50 + v))).toBeCloseTo(1, 5); // the softmax alone
});

test('a logit that is NaN makes its own row NaN', async () => {
  const logits = random('logits', [3, 2000]);
  logits.values[2000 + 1500] = Number.NaN;
  const [losses, dlogits] = (await runWithInts(lossAndGradient(1), logits, [0, 0, 0])) as [Values, Values];
  expect(Array.from(losses, Number.isNaN)).toEqual([false, true, false]);
  const isNaNs = Array.from(dlogits, Number.isNaN);
  expect(isNaNs).toEqual(isNaNs.map((_, i) => i >= 2000 && i < 4000));
});

test('a word that is -∞ has no probability, be it one or a whole block of them', async () => {
  const values = random('logits', [1, 3000]).values.map((x, i) => (i < 1500 ? Number.NEGATIVE_INFINITY : x));
  const logits = { values, shape: [1, 3000] };
  const expected = lossInFloat64(logits, [2000], 1);
  expectValues(await runWithInts(lossAndGradient(1), logits, [2000]), expected);
});

// ## The embedding

test('embeddingGrad adds each row in the order of the batch, and leaves other rows alone', async () => {
  const side = fc.integer({ min: 1, max: 70 });
  const check = async (N: number, V: number, D: number) => {
    const [dx, grad, ids] = [random('dx', [N, D]), random('grad', [V, D]), integers('ids', N, V)];
    const expected = Float32Array.from(grad.values);
    for (const [n, id] of ids.entries())
      for (let d = 0; d < D; d++) expected[id * D + d] = (expected[id * D + d] as number) + at(dx.values, n * D + d);
    const [sums] = await runWithInts(
      (dx, ids) => {
        const table = tf.tensor(grad.values, grad.shape);
        const sums = fused.embeddingGrad(dx, ids, table);
        expect(table.dataSync()).toEqual(sums.dataSync());
        table.dispose();
        return [sums];
      },
      dx,
      ids,
    );
    expect(sums).toEqual(expected); // to the bit
  };
  await fc.assert(fc.asyncProperty(side, side, side, check), RUNS);
});

test('an id that the table has no row for is passed over', async () => {
  const dx = { values: new Float32Array(8).fill(1), shape: [4, 2] };
  const sumsFrom = async (first: number) => {
    const add = (dx: Tensor, ids: Tensor) => [tf.tidy(() => fused.embeddingGrad(dx, ids, tf.zeros([3, 2]), first))];
    const [sums] = await runWithInts(add, dx, [3, -1, 2 ** 31 - 1, 1]);
    return Array.from(sums as Values);
  };
  expect(await sumsFrom(0)).toEqual([0, 0, 1, 1, 0, 0]);
  expect(await sumsFrom(2)).toEqual([0, 0, 1, 1, 0, 0]); // of id 3, in row 1
  expect(await sumsFrom(5)).toEqual(Array(6).fill(0));
});

test('a table that has ids 4 to 6 of 10 gives their rows, and zeros for the others', async () => {
  const table = { values: Float32Array.from({ length: 6 }, (_, i) => i + 1), shape: [3, 2] };
  const take = (table: Tensor, ids: Tensor) => [fused.embedding(table, ids, { first: 4, words: 10 })];
  const [x] = await runWithInts(take, table, [3, 4, 6, 7, 9, 0, 4]);
  expect(Array.from(x as Values)).toEqual([0, 0, 1, 2, 5, 6, 0, 0, 0, 0, 0, 0, 1, 2]);
});

// ## Shapes

test.each([
  [[3, 5], [4]],
  [
    [3, 5],
    [3, 1],
  ],
  [[15], [15]],
])('crossEntropy refuses logits %j with targets %j', async (logits, targets) => {
  await expectNoLeak(async () => {
    const inputs = [tf.zeros(logits), tf.zeros(targets, 'int32')] as const;
    const sentence = `needs logits [C, V] and targets [C], but got [${logits}], [${targets}]`;
    expect(() => fused.crossEntropy(...inputs, true, 1)).toThrow(sentence);
    tf.dispose([...inputs]);
  });
});

test.each([
  [[15], [3]],
  [
    [3, 5],
    [3, 1],
  ],
])('embedding refuses a table %j with ids %j', async (table, ids) => {
  await expectNoLeak(async () => {
    const inputs = [tf.zeros(table), tf.zeros(ids, 'int32')] as const;
    const sentence = `needs table [V, D] and ids [N], but got [${table}], [${ids}]`;
    expect(() => fused.embedding(...inputs, { first: 0, words: 3 })).toThrow(sentence);
    tf.dispose([...inputs]);
  });
});

test.each([
  [[3, 5], [4], [7, 5]],
  [[3, 5], [3], [7, 4]],
  [[3, 5], [3], [35]],
  [[15], [15], [7, 5]],
])('embeddingGrad refuses dx %j with ids %j and a gradient %j', async (dx, ids, grad) => {
  await expectNoLeak(async () => {
    const inputs = [tf.zeros(dx), tf.zeros(ids, 'int32'), tf.zeros(grad)] as const;
    const sentence = `needs dx [N, D], ids [N] and grad [V, D], but got [${dx}], [${ids}], [${grad}]`;
    expect(() => fused.embeddingGrad(...inputs)).toThrow(sentence);
    tf.dispose([...inputs]);
  });
});
