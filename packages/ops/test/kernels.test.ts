import { cast, constant, type DType, dtypeOf, read, readLater } from '@fourfold/runtime';
import { expectNoLeak, onBackends, useBackend } from '@fourfold/runtime/testing';
import { pretendGpu } from '@fourfold/runtime/testing/pretended-gpu';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { kernels as k } from '../src/index.ts';
import { BFLOAT16, FLOAT32, randn, relativeError } from './helpers.ts';

const { exp, log } = Math;
const sigmoid = (x: number): number => 1 / (1 + exp(-x));

type Row = number[];
const sumOf = (row: Row): number => row.reduce((a, b) => a + b, 0);
const softmaxOf = (row: Row): Row => row.map((x) => exp(x) / sumOf(row.map(exp)));

/** What each kernel makes of a and b, [3, 4] both, and the same in plain arithmetic, element by element. */
const ELEMENTWISE: [
  name: string,
  kernel: (a: tf.Tensor, b: tf.Tensor) => tf.Tensor,
  plain: (a: number, b: number) => number,
][] = [
  ['square', k.square, (a) => a * a],
  ['sigmoid', k.sigmoid, sigmoid],
  ['rsqrt', (a) => tf.tidy(() => k.rsqrt(k.square(a))), (a) => 1 / Math.abs(a)],
  ['exp', k.exp, exp],
  ['log', (a) => tf.tidy(() => k.log(k.exp(a))), (a) => a],
  ['softplus', k.softplus, (a) => log(1 + exp(a))],
  ['neg', k.neg, (a) => -a],
  ['add', k.add, (a, b) => a + b],
  ['sub', k.sub, (a, b) => a - b],
  ['mul', k.mul, (a, b) => a * b],
  ['sigmoidGrad', (a, b) => tf.tidy(() => k.sigmoidGrad(k.sigmoid(a), b)), (a, b) => b * sigmoid(a) * (1 - sigmoid(a))],
  ['scale', (a) => k.scale(a, 0.5), (a) => a / 2],
  ['scale by 1', (a) => k.scale(a, 1), (a) => a],
  ['share', k.share, (a) => a],
];

/** The same for kernels that look at a whole row of four. */
const ROWWISE: [name: string, kernel: (a: tf.Tensor) => tf.Tensor, plain: (row: Row) => Row][] = [
  ['softmax', k.softmax, softmaxOf],
  ['logSoftmax', k.logSoftmax, (row) => softmaxOf(row).map(log)],
  ['sum', (a) => k.sum(a, 1), (row) => [sumOf(row)]],
  ['max', (a) => k.max(a, 1), (row) => [Math.max(...row)]],
  ['mean, keeping the axis', (a) => k.mean(a, 1, true), (row) => [sumOf(row) / 4]],
  ['swapHalves', k.swapHalves, ([a = 0, b = 0, c = 0, d = 0]) => [c, d, a, b]],
  ['slice', (a) => k.slice(a, 1, 1, 2), (row) => row.slice(1, 3)],
  ['slice of all', (a) => k.slice(a, 1, 0, 4), (row) => row],
  ['concat', (a) => k.concat([a, a], 1), (row) => [...row, ...row]],
  ['concat of one', (a) => k.concat([a], 1), (row) => row],
];

const rowsOf = async (x: tf.Tensor): Promise<Row[]> => {
  const values = Array.from(await read(x));
  return Array.from({ length: 3 }, (_, i) => values.slice(4 * i, 4 * i + 4));
};

/** Runs every kernel above at `dtype` and compares; each must make one tensor and leave no other. */
function tables(dtype: DType, tolerance: number): void {
  const inputs = () =>
    ['a', 'b'].map((name) => tf.tidy(() => cast(randn(name, [3, 4]), dtype))) as [tf.Tensor, tf.Tensor];
  const compare = (kernel: (a: tf.Tensor, b: tf.Tensor) => tf.Tensor, plain: (a: Row[], b: Row[]) => Row[]) =>
    expectNoLeak(async () => {
      const [a, b] = inputs();
      const y = kernel(a, b);
      expect(dtypeOf(y)).toBe(dtype);
      expect(relativeError(await read(y), plain(await rowsOf(a), await rowsOf(b)).flat())).toBeLessThanOrEqual(
        tolerance,
      );
      tf.dispose([a, b, y]);
    });
  test.each(ELEMENTWISE)('%s', (_, kernel, plain) =>
    compare(kernel, (a, b) => a.map((row, i) => row.map((x, j) => plain(x, b[i]?.[j] as number)))),
  );
  test.each(ROWWISE)('%s', (_, kernel, plain) => compare(kernel, (a) => a.map(plain)));
}

onBackends(() => {
  tables('float32', FLOAT32);

  test('add, sub and mul broadcast as NumPy does', async () => {
    await expectNoLeak(async () => {
      const [a, row, column] = [
        tf.tensor2d([
          [1, 2],
          [3, 4],
        ]),
        tf.tensor1d([10, 20]),
        tf.tensor2d([[5], [6]]),
      ];
      const results = [k.add(a, row), k.sub(a, column), k.mul(row, column)];
      expect(await Promise.all(results.map((x) => x.array()))).toEqual([
        [
          [11, 22],
          [13, 24],
        ],
        [
          [-4, -3],
          [-3, -2],
        ],
        [
          [50, 100],
          [60, 120],
        ],
      ]);
      tf.dispose([a, row, column, ...results]);
    });
  });

  test('sum over the first axis, and over none of one', async () => {
    await expectNoLeak(async () => {
      const x = tf.tensor2d([
        [1, 2, 3],
        [10, 20, 30],
      ]);
      const [over0, kept] = [k.sum(x, 0), k.sum(x, 0, true)];
      expect([over0.shape, kept.shape]).toEqual([[3], [1, 3]]);
      expect(Array.from(await kept.data())).toEqual([11, 22, 33]);
      tf.dispose([x, over0, kept]);
    });
  });

  test('matmul in every form, of two and of more dimensions', async () => {
    const side = fc.integer({ min: 1, max: 9 });
    await fc.assert(
      fc.asyncProperty(side, side, side, fc.constantFrom<number[]>([], [3], [2, 3]), async (m, n, inner, leading) => {
        for (const form of ['nn', 'nt', 'tn'] as const)
          await expectNoLeak(() => checkProduct(form, m, n, inner, leading));
      }),
      { numRuns: 10 },
    );
  });

  test('transpose and reshape only move numbers', async () => {
    await expectNoLeak(async () => {
      const x = tf.tensor(
        Array.from({ length: 24 }, (_, i) => i),
        [2, 3, 4],
      );
      const [turned, flat] = [k.transpose(x, [2, 0, 1]), k.reshape(x, [-1, 6])];
      expect([turned.shape, flat.shape]).toEqual([
        [4, 2, 3],
        [4, 6],
      ]);
      expect(((await turned.array()) as number[][][])[3]?.[1]).toEqual([15, 19, 23]);
      expect(((await flat.array()) as number[][])[2]).toEqual([12, 13, 14, 15, 16, 17]);
      tf.dispose([x, turned, flat]);
    });
  });

  test('rows are taken, added up, picked from and written to by number', () => expectNoLeak(() => checkRows()));

  test('a shared tensor lives until its last holder lets go', async () => {
    await expectNoLeak(async () => {
      const x = tf.tensor1d([1, 2]);
      const y = k.share(x);
      x.dispose();
      expect(await y.array()).toEqual([1, 2]);
      y.dispose();
    });
  });

  test('concat of nothing is refused', () => expect(() => k.concat([], 0)).toThrow('concat of no tensors'));
});

/** Three rows of two by their numbers; what is picked from and written to is 1, 0 and 1 of each row. */
async function checkRows(): Promise<void> {
  const x = constant([1, 2, 3, 4, 5, 6], [3, 2]);
  const [ids, columns] = [tf.tensor1d([2, 0, 2], 'int32'), tf.tensor1d([1, 0, 1], 'int32')];
  const [places, updates] = [k.placesOf(columns), constant([-1, -2, -3], [3])];
  const results = [k.takeRows(x, ids), k.addRows(x, ids, 4), k.pick(x, places), k.put(x, places, updates)];
  // biome-ignore format: matrices
  expect(await Promise.all(results.map((y) => y.array()))).toEqual([
    [[5, 6], [1, 2], [5, 6]],
    [[3, 4], [0, 0], [6, 8], [0, 0]],
    [2, 3, 6],
    [[1, -1], [-2, 4], [5, -3]],
  ]);
  expect(Array.from(await x.data())).toEqual([1, 2, 3, 4, 5, 6]);
  tf.dispose([x, ids, columns, places, updates, ...results]);
}

test('on a GPU nobody waits for numbers that JavaScript makes', async () => {
  await useBackend('cpu');
  await expectNoLeak(() =>
    pretendGpu(async (gpu) => {
      const y = tf.tidy(() => k.add(k.scale(constant([1, 2, 3, 4], [2, 2]), 0.5), k.scalar(10)));
      expect(Array.from(await readLater(y))).toEqual([10.5, 11, 11.5, 12]);
      y.dispose();
      expect(gpu.waits).toEqual([]);
    }),
  );
});

/** On whole numbers, whose sums of products are exact. */
async function checkProduct(form: 'nn' | 'nt' | 'tn', m: number, n: number, inner: number, leading: number[]) {
  const whole = (name: string, sides: number[]) => {
    const shape = [...leading, ...sides];
    return tf.tidy(() => tf.round(randn(name, shape, 10)));
  };
  const a = whole('a', form === 'tn' ? [inner, m] : [m, inner]);
  const b = whole('b', form === 'nt' ? [n, inner] : [inner, n]);
  const y = k.matmul(a, b, form);
  const [as, bs] = [await a.data(), await b.data()];
  const left = (i: number, p: number) => (form === 'tn' ? p * m + i : i * inner + p);
  const right = (p: number, j: number) => (form === 'nt' ? j * inner + p : p * n + j);
  const element = (place: number) => {
    const [batch, i, j] = [Math.floor(place / (m * n)), Math.floor(place / n) % m, place % n];
    const term = (p: number) =>
      (as[batch * m * inner + left(i, p)] as number) * (bs[batch * n * inner + right(p, j)] as number);
    return sumOf(Array.from({ length: inner }, (_, p) => term(p)));
  };
  expect(y.shape).toEqual([...leading, m, n]);
  expect(
    relativeError(
      await y.data(),
      Array.from({ length: y.size }, (_, place) => element(place)),
    ),
  ).toBe(0);
  tf.dispose([a, b, y]);
}

describe('bfloat16', () => {
  beforeAll(() => useBackend('cpu'));
  // Two kernels after one another round twice; TensorFlow's sigmoid in bfloat16 adds up rounded terms.
  tables('bfloat16', 2.5 * BFLOAT16);
});
