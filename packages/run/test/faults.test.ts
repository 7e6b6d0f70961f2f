import { UserError } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { nonFinite, type Rank } from '../src/index.ts';
import { type Change, onRanks, step } from './ranks.ts';

/** What ends a run of which rank `culprit` spoilt one element of one gradient in step 2, or its loss. */
async function sentenceOf(change: Change, value: number, where: string | undefined, culprit = 0): Promise<Set<string>> {
  const spoil = (rank: Rank) => {
    if (rank.mesh.world.rank !== culprit || where === undefined) return;
    const updated = rank.data.updated.find(({ name, ranges }) =>
      ranges ? ranges.some(({ of }) => of.name === where) : name === where,
    );
    if (!updated?.grad) return;
    const at = updated.ranges?.find(({ of }) => of.name === where)?.at ?? 0;
    const numbers = updated.grad.dataSync().slice();
    numbers[at] = value;
    updated.grad.dispose();
    updated.grad = tf.tensor(numbers, [...updated.shape]);
  };
  const sentences = await onRanks(change, async (rank) => {
    await step(rank, 1);
    await step(rank, 2, spoil);
    const isLoss = where === undefined && rank.mesh.world.rank === culprit;
    const own = tf.tensor1d([isLoss ? value : 5, 1, 0, 0]);
    const loss = where === undefined ? value : 5;
    const error = await nonFinite(rank, { step: 2, loss, gradNorm: Number.NaN, own });
    expect(error).toBeInstanceOf(UserError);
    expect(own.isDisposed).toBe(true);
    return error.message;
  });
  return new Set(sentences);
}

const up = 'model.layers.1.mlp.up_proj.weight';

test.each([Number.NaN, Infinity, -Infinity])(
  '%d in one gradient: that tensor, and all ranks say the same',
  async (value) => {
    const where = `on rank 0, first in the gradient of ${up}: use a smaller learningRate`;
    const expected = `the gradient's norm of step 2 is NaN ${where}`;
    expect(await sentenceOf({}, value, up)).toEqual(new Set([expected]));
  },
);

test.each([{ tp: 2 }, { dp: 2 }, { dp: 2, zero: true }])('on rank 1 of %j: that rank', async (change) => {
  const place = 'tp' in change ? 'tp1' : 'dp1';
  const where = 'zero' in change ? 'model.embed_tokens.weight' : up; // backward's last: in the last rank's part
  const expected = new RegExp(
    `^the gradient's norm of step 2 is NaN on rank 1 \\[${place}\\], first in the gradient of ${where}:`,
  );
  const sentences = await sentenceOf({ ...change, bucketMegabytes: 25 }, Number.NaN, where, 1);
  expect(sentences.size).toBe(1);
  expect([...sentences][0]).toMatch(expected);
});

test('a loss that is none: the rank that computed it, though all gradients are fine', async () => {
  const expected =
    'the loss of step 2 is NaN on rank 1 [dp1], though no single gradient is: use a smaller learningRate';
  expect(await sentenceOf({ dp: 2 }, Number.NaN, undefined, 1)).toEqual(new Set([expected]));
});
