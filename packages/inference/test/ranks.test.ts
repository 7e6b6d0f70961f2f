/** Sums over ranks: the same bits on all of them. */
import { spmd } from '@fourfold/process-group';
import { read } from '@fourfold/runtime';
import { expectNoLeak, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { ALONE, ranksOf } from '../src/ranks.ts';

beforeAll(() => useBackend('cpu'));

test.each([true, false])('three ranks add their parts in rank order, onto a tensor: %s', async (hasOnto) => {
  const sums = await expectNoLeak(() =>
    spmd(3, async (group) => {
      const ranks = ranksOf(group);
      expect([ranks.rank, ranks.size]).toEqual([group.rank, 3]);
      const [part_ND, onto_ND] = [tf.fill([1, 2], [0.1, 0.2, 0.7][group.rank] as number), tf.tensor2d([[1, 1e8]])];
      const y_ND = await ranks.sum(part_ND, hasOnto ? onto_ND : undefined);
      const values = [...(await read(y_ND))];
      tf.dispose([part_ND, onto_ND, y_ND]);
      return values;
    }),
  );
  const f = Math.fround;
  const sum = f(f(f(0.1) + f(0.2)) + f(0.7));
  for (const values of sums) expect(values).toEqual(hasOnto ? [f(1 + sum), f(1e8 + sum)] : [sum, sum]);
});

test('alone there is nothing to add but what it goes onto', async () => {
  await expectNoLeak(async () => {
    const [part_ND, onto_ND] = [tf.tensor2d([[1, 2]]), tf.tensor2d([[10, 20]])];
    const [sum_ND, same_ND] = [await ALONE.sum(part_ND, onto_ND), await ALONE.sum(part_ND, undefined)];
    expect([...(await read(sum_ND)), ...(await read(same_ND))]).toEqual([11, 22, 1, 2]);
    tf.dispose([part_ND, onto_ND, sum_ND, same_ND]);
  });
});
