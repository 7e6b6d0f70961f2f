import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { cast, dtypeOf, memory, read } from '../src/index.ts';
import { parts, stack, together } from '../src/together.ts';
import { expectNoLeak, onBackends, useBackend } from './testing.ts';

const matrix = (rows: number, columns: number, first = 0): Tensor =>
  tf.tensor2d(
    Float32Array.from({ length: rows * columns }, (_, i) => first + i),
    [rows, columns],
  );
const numbersOf = async (xs: readonly Tensor[]): Promise<number[][]> =>
  Promise.all(xs.map(async (x) => Array.from(await read(x))));

onBackends(() => {
  test('a stack has all rows, and its parts are the matrices again, whatever their sides', async () => {
    const rows = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(rows, fc.integer({ min: 1, max: 40 }), async (counts, columns) => {
        await expectNoLeak(async () => {
          const xs = counts.map((count, i) => matrix(count, columns, 1000 * i));
          const all = stack(xs);
          const again = parts(all, counts);
          expect(all.shape).toEqual([counts.reduce((a, b) => a + b), columns]);
          expect(await numbersOf([all])).toEqual([(await numbersOf(xs)).flat()]);
          expect(await numbersOf(again)).toEqual(await numbersOf(xs));
          tf.dispose([...xs, all, ...again]);
        });
      }),
      { numRuns: 30 },
    );
  });
});

/** Bytes that `make` takes, beside those of what was there; what it makes is freed. */
function bytesOf(make: () => Tensor | Tensor[]): number {
  const before = memory().bytes;
  const made = make();
  const bytes = memory().bytes - before;
  tf.dispose(made);
  return bytes;
}

test.each(['float32', 'bfloat16'] as const)(
  'what lies together is stacked and cut without copies: %s',
  async (dtype) => {
    await useBackend('cpu');
    await expectNoLeak(async () => {
      const own = tf.tidy(() => [32, 64, 32].map((rows, i) => cast(matrix(rows, 16, i), dtype))) as [
        Tensor,
        Tensor,
        Tensor,
      ];
      const copies = together(own);
      const [q, k, v] = copies as [Tensor, Tensor, Tensor];
      expect(copies.map(dtypeOf)).toEqual([dtype, dtype, dtype]);
      expect(await numbersOf(copies)).toEqual(await numbersOf(own));
      expect(bytesOf(() => stack(copies))).toBe(0);
      expect(bytesOf(() => stack([k, v]))).toBe(0);
      expect(bytesOf(() => stack(own))).toBeGreaterThan(0);
      const all = stack([q, k, v]);
      expect(bytesOf(() => parts(all, [32, 64, 32]))).toBe(0);
      tf.dispose(copies); // the stack holds the memory
      expect(await numbersOf([all])).toEqual([(await numbersOf(own)).flat()]);
      tf.dispose([...own, all]);
    });
  },
);

test('in another order, or with one left out, a stack is a copy with the right rows', async () => {
  await useBackend('cpu');
  await expectNoLeak(async () => {
    const own = [0, 100, 200].map((first) => matrix(4, 16, first)) as [Tensor, Tensor, Tensor];
    const [a, b, c] = together(own) as [Tensor, Tensor, Tensor];
    for (const order of [
      [b, a],
      [a, c],
      [c, b, a],
      [a, a],
    ]) {
      const all = stack(order);
      expect(await numbersOf([all])).toEqual([(await numbersOf(order)).flat()]);
      all.dispose();
    }
    tf.dispose([...own, a, b, c]);
  });
});

test('matrices of other widths, and more rows than there are, are refused', async () => {
  await useBackend('cpu');
  const [a, b] = [matrix(2, 3), matrix(2, 4)];
  expect(() => stack([a, b])).toThrow('FourfoldStack needs matrices with rows of one length, but got [2,3], [2,4]');
  expect(() => parts(a, [1, 2])).toThrow('FourfoldParts needs parts that x has rows for, but got [2,3], [2]');
  tf.dispose([a, b]);
});
