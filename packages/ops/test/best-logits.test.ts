/** The best of logits against a plain sort, with ties, NaN and k up to V. */
import { read } from '@fourfold/runtime';
import { expectNoLeak, onBackends } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { bestLogits } from '../src/index.ts';
import { draw } from './quantized.ts';

/** [ids, values, logSumExp] of rows. */
async function best(rows: number[][], k: number): Promise<number[][]> {
  return expectNoLeak(async () => {
    const logits = tf.tensor2d(rows);
    const { ids_NK, values_NK, logSumExp_N } = bestLogits(logits, k);
    const results = await Promise.all(
      [ids_NK, values_NK, logSumExp_N].map(async (x: Tensor) => Array.from(await read(x))),
    );
    tf.dispose([logits, ids_NK, values_NK, logSumExp_N]);
    return results;
  });
}

onBackends(() => {
  test('the best of a thousand words are those of a sort, and the sum is that of float64', async () => {
    const rows = [0, 1, 2].map((n) => Array.from(draw(`logits ${n}`, 1000, 5)));
    const [ids, values, sums] = await best(rows, 20);
    for (const [n, row] of rows.entries()) {
      const order = row.map((_, v) => v).sort((a, b) => (row[b] as number) - (row[a] as number));
      expect(ids?.slice(20 * n, 20 * n + 20)).toEqual(order.slice(0, 20));
      expect(values?.slice(20 * n, 20 * n + 20)).toEqual(order.slice(0, 20).map((v) => row[v]));
      const sum = Math.log(row.reduce((total, x) => total + Math.exp(x), 0));
      expect(Math.abs((sums?.[n] as number) - sum)).toBeLessThan(2e-6 * sum); // 2^-23 of it, and Exp's 2 last places
    }
  });

  test('of equal ones the lower ids come first, and k may be all', async () => {
    const [ids, values] = await best([[1, 3, 2, 3, 1, 3]], 6);
    expect(ids).toEqual([1, 3, 5, 2, 0, 4]);
    expect(values).toEqual([3, 3, 3, 2, 1, 1]);
    expect((await best([[1, 3, 2, 3, 1, 3]], 2))[0]).toEqual([1, 3]);
  });

  test('a NaN is the least, and shows in the sum', async () => {
    const [ids, , sums] = await best([[Number.NaN, 1, Number.NaN, 2]], 3);
    expect(ids).toEqual([3, 1, 0]);
    expect(sums).toEqual([Number.NaN]);
  });
});
