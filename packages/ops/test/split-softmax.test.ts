import { cast, dtypeOf, memory, read } from '@fourfold/runtime';
import { stockKernels } from '@fourfold/runtime/tensorflow';
import { expectNoLeak, onBackends, useBackend } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import * as fused from '../src/fused.ts';
import { kernels, logitGradient, logitStatistics } from '../src/index.ts';
import { at, expectValues, fill, type Input, largest, lossInFloat64, random, type Values } from './float64.ts';
import { BFLOAT16, expectClose, integers } from './helpers.ts';

interface Split {
  /** How many ranks share out the words. */
  readonly n: number;
  readonly weight?: number;
  readonly gradients?: boolean;
}

/** The losses that each rank finds, and all ranks' dlogits side by side. Frees what it makes; keeps the logits. */
function lossOnRanks(logits: Tensor, targets: Tensor, { n, weight = 1, gradients = true }: Split) {
  const V = (logits.shape[1] as number) / n;
  return tf.tidy(() => {
    const one = kernels.scalar(1, dtypeOf(logits));
    const parts = Array.from({ length: n }, (_, r) => kernels.mul(part(logits, r * V, V), one)); // to be written over
    const stats = kernels.concat(
      parts.map((logits_CV, r) => logitStatistics(logits_CV, targets, r * V)),
      0,
    );
    const results = parts.map((logits_CV, r) =>
      logitGradient(logits_CV, targets, stats, { first: r * V, gradients, weight }),
    );
    const dlogits = results.flatMap(({ dlogits_CV }) => (dlogits_CV ? [dlogits_CV] : []));
    return {
      losses: results.map(({ losses_C }) => losses_C),
      dlogits: gradients ? kernels.concat(dlogits, 1) : undefined,
    };
  });
}

const part = (x_CV: Tensor, first: number, V: number): Tensor => kernels.slice(x_CV, 1, first, V);

/** Every rank's losses, and all dlogits. */
async function numbersOf({ values, shape }: Input, targets: number[], split: Split) {
  return expectNoLeak(async () => {
    const [logits, ids] = [tf.tensor(values, shape), tf.tensor1d(targets, 'int32')];
    const { losses, dlogits } = lossOnRanks(logits, ids, split);
    const ofRanks = (await Promise.all(losses.map(read))) as Float32Array[];
    const gradient = (dlogits ? await read(dlogits) : undefined) as Float32Array;
    expect(await logits.data()).toEqual(values);
    tf.dispose([logits, ids, ...losses, ...(dlogits ? [dlogits] : [])]);
    return { losses: ofRanks, dlogits: gradient };
  });
}

/** Holds n ranks against float64, and their losses against each other, to the bit. */
async function check(C: number, V: number, std: number, split: Required<Split>): Promise<void> {
  const [logits, targets] = [random('logits', [C, split.n * V], std), integers('targets', C, split.n * V)];
  const { losses, dlogits } = await numbersOf(logits, targets, split);
  for (const of of losses) expect(of).toEqual(losses[0]);
  const sizes = [fill(C, () => Math.max(1, largest(logits.values))), fill(dlogits.length, () => split.weight)];
  expectValues([losses[0] as Values, dlogits], lossInFloat64(logits, targets, split.weight), sizes);
}

const splits = fc.record({
  n: fc.integer({ min: 1, max: 5 }),
  weight: fc.constantFrom(1, 0.125, 3),
  gradients: fc.constant(true),
});
const anyShape = [
  fc.integer({ min: 1, max: 12 }),
  fc.integer({ min: 1, max: 70 }),
  fc.constantFrom(1, 10, 30),
] as const;

onBackends(() => {
  test('n ranks find the losses and gradients of float64, and all the same bits', async () => {
    await fc.assert(fc.asyncProperty(...anyShape, splits, check), { numRuns: 20 });
  });

  test('without gradients they find the same losses', async () => {
    const [logits, targets] = [random('logits', [5, 12]), integers('targets', 5, 12)];
    const [both, alone] = [await numbersOf(logits, targets, { n: 3 }), { n: 3, gradients: false }];
    expect(await numbersOf(logits, targets, alone)).toEqual({ losses: both.losses, dlogits: undefined });
  });

  test('logits in the hundreds, those of one rank far above those of all others', async () => {
    const logits = {
      values: Float32Array.from({ length: 12 }, (_, i) => 300 * Math.floor(i / 3) - (i % 3)),
      shape: [1, 12],
    };
    const sure = Math.log(1 + Math.exp(-1) + Math.exp(-2));
    for (const [target, loss] of [9, 0].map((v) => [v, 900 - (logits.values[v] as number) + sure] as const)) {
      const { losses, dlogits } = await numbersOf(logits, [target], { n: 4 });
      expectValues([losses[3] as Values], [[loss]], [[900]]);
      expect(largest(dlogits)).toBeLessThanOrEqual(1);
    }
  });

  test('words that are -∞ have no probability, be they all of a rank', async () => {
    const values = random('logits', [2, 20]).values.map((x, i) => (i % 20 < 10 ? Number.NEGATIVE_INFINITY : x));
    const logits = { values, shape: [2, 20] };
    const { losses, dlogits } = await numbersOf(logits, [15, 19], { n: 2 });
    for (const of of losses) expectValues([of, dlogits], lossInFloat64(logits, [15, 19], 1));
  });
});

describe('on TensorFlow', () => {
  beforeAll(() => useBackend('cpu'));

  test('rows of thousands of words, which the fused op adds up in blocks of 1,024', async () => {
    const long = fc.integer({ min: 1000, max: 3000 });
    await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 4 }), long, anyShape[2], splits, check), { numRuns: 8 });
  });

  test('the stock kernels find the same', async () => {
    const stock: typeof check = (...shape) => stockKernels(() => check(...shape));
    await fc.assert(fc.asyncProperty(...anyShape, splits, stock), { numRuns: 20 });
  });

  test('in bfloat16, float32 losses and gradients near those of float32', async () => {
    await expectNoLeak(async () => {
      const { values, shape } = random('logits', [6, 40]);
      const narrow = tf.tidy(() => cast(tf.tensor(values, shape), 'bfloat16'));
      const [wide, targets] = [cast(narrow, 'float32'), tf.tensor1d(integers('targets', 6, 40), 'int32')];
      const [found, wanted] = [narrow, wide].map((x) => lossOnRanks(x, targets, { n: 4, weight: 0.5 })) as [
        Results,
        Results,
      ];
      await expectClose(found.losses[3] as Tensor, wanted.losses[3] as Tensor, 1e-6, 'losses'); // of the same numbers
      await expectClose(found.dlogits as Tensor, wanted.dlogits as Tensor, BFLOAT16, 'dlogits');
      for (const { losses, dlogits } of [found, wanted]) tf.dispose([...losses, dlogits as Tensor]);
      tf.dispose([narrow, wide, targets]);
    });
  });

  test('dlogits lie where the logits lay; without gradients the logits are left as they are', async () => {
    await expectNoLeak(async () => {
      const [logits, targets] = [tf.fill([4, 1000], 0), tf.fill([4], 7, 'int32')];
      const stats = fused.logitStatistics(logits, targets, 0);
      expect(await stats.array()).toEqual(Array(4).fill([0, 1000, 0]));
      const before = memory().bytes;
      const [alone, none] = fused.logitGradient(logits, targets, stats, { first: 0, gradients: false, weight: 1 });
      expect([none.shape, await logits.data()]).toEqual([[0], new Float32Array(4000)]);
      tf.dispose([alone, none]);
      const [losses, dlogits] = fused.logitGradient(logits, targets, stats, { first: 0, gradients: true, weight: 1 });
      expect(memory().bytes - before).toBe(4 * 4); // the losses
      expect(await logits.data()).toEqual(await dlogits.data());
      tf.dispose([logits, targets, stats, losses, dlogits]);
    });
  });

  test('a target that is no word gives a loss of NaN, and nothing outside its row is written', async () => {
    const logits = random('logits', [4, 50]);
    const { losses, dlogits } = await numbersOf(logits, [3, -1, 50, 2 ** 31 - 1], { n: 2 });
    expect(losses.map((of) => Array.from(of, Number.isNaN))).toEqual(Array(2).fill([false, true, true, true]));
    const sums = fill(4, (c) => dlogits.slice(50 * c, 50 * (c + 1)).reduce((sum, d) => sum + d, 0));
    for (const [c, sum] of [0, 1, 1, 1].entries()) expect(at(sums, c)).toBeCloseTo(sum, 5); // the softmax alone
  });

  test('a logit that is NaN makes its own row NaN, on every rank', async () => {
    const logits = random('logits', [3, 2000]);
    logits.values[2000 + 1500] = Number.NaN;
    const { losses, dlogits } = await numbersOf(logits, [0, 0, 0], { n: 4 });
    expect(losses.map((of) => Array.from(of, Number.isNaN))).toEqual(Array(4).fill([false, true, false]));
    expect(dlogits.every((d, i) => Number.isNaN(d) === (i >= 2000 && i < 4000))).toBe(true);
  });

  test.each([
    [[3, 5], [4], [6, 3]],
    [[15], [15], [6, 3]],
    [[3, 5], [3], [6, 2]],
    [[3, 5], [3], [7, 3]],
    [[3, 5], [3], [0, 3]],
    [[3, 5], [3], [18]],
    [[0, 5], [0], [0, 3]],
  ])('logits %j with targets %j and statistics %j are refused', async (logits, targets, stats) => {
    await expectNoLeak(async () => {
      const inputs = [tf.zeros(logits), tf.zeros(targets, 'int32'), tf.zeros(stats)] as const;
      const sentence = `needs logits [C, V], targets [C] and stats [n · C, 3], C and n above 0, but got`;
      const options = { first: 0, gradients: true, weight: 1 };
      expect(() => fused.logitGradient(...inputs, options)).toThrow(
        `${sentence} [${logits}], [${targets}], [${stats}]`,
      );
      tf.dispose([...inputs]);
    });
  });

  test('statistics of logits [15] are refused', () => {
    const inputs = [tf.zeros([15]), tf.zeros([15], 'int32')] as const;
    expect(() => fused.logitStatistics(...inputs, 0)).toThrow(
      'needs logits [C, V] and targets [C], but got [15], [15]',
    );
    tf.dispose([...inputs]);
  });
});

type Results = ReturnType<typeof lossOnRanks>;
