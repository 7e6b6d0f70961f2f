/** The figure of split products against products made here, and the formulas of the bytes. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { joined, type Matrix } from '../src/figures/matrices.ts';
import { SIZES, type Step, tensorFigure, tensorSummary } from '../src/figures/tensor.ts';

beforeAll(() => tf.setBackend('cpu'));

const times = (a: Matrix, b: Matrix): Matrix => {
  const columns = (b[0] as number[]).map((_, i) => b.map((row) => row[i] as number));
  return a.map((row) => columns.map((column) => dot(row, column)));
};
const dot = (x: readonly number[], y: readonly number[]): number =>
  x.reduce((sum, value, i) => sum + value * (y[i] as number), 0);
const plus = (a: Matrix, b: Matrix): Matrix => a.map((row, i) => row.map((value, j) => value + (b[i]?.[j] as number)));

/** A matrix of a step, put together from its parts. */
function whole({ shown }: Step, i: number): Matrix {
  const { split, parts } = shown[i] as Step['shown'][number];
  return split === 'partial' ? parts.reduce(plus) : joined(parts, split);
}

const CASES = [1, 2, 4].flatMap((tp) => [false, true].map((sequenceParallel) => ({ tp, sequenceParallel })));

describe.each(CASES)('tp=$tp, sequence parallel $sequenceParallel', ({ tp, sequenceParallel }) => {
  test('each product is that of the matrices beside it', async () => {
    const { steps } = await tensorFigure({ tp, sequenceParallel });
    const products = [1, 2, 5, 6, 7, 9].map((i) => steps[i] as Step);
    for (const step of products) expect(whole(step, 2), step.title).toEqual(times(whole(step, 0), whole(step, 1)));
  });

  test('an edge changes how a matrix lies, not what it is', async () => {
    const { steps } = await tensorFigure({ tp, sequenceParallel });
    for (const i of [0, 3, 4, 8]) expect(whole(steps[i] as Step, 0)).toEqual(whole(steps[i] as Step, 1));
  });

  test('no number differs from one rank, and no tensor is left', async () => {
    const before = tf.memory().numTensors;
    expect((await tensorFigure({ tp, sequenceParallel })).difference).toBe(0);
    expect(tf.memory().numTensors).toBe(before);
  });
});

test('an all-reduce each way, of 2 (n-1)/n of [N, D]', async () => {
  const { steps } = await tensorFigure({ tp: 4, sequenceParallel: false });
  const sent = steps.flatMap((step) => (step.sent ? [step.sent] : []));
  const bytes = (2 * 3 * SIZES.N * SIZES.D * 4) / 4;
  expect(sent).toEqual([1, 2].map(() => ({ operation: 'allReduce', bytes, formula: bytes })));
});

test('with sequence parallelism half of that, two and a half times as often', async () => {
  const { steps } = await tensorFigure({ tp: 4, sequenceParallel: true });
  const sent = steps.flatMap((step) => (step.sent ? [step.sent] : []));
  expect(sent.map(({ operation }) => operation)).toEqual([
    'allGather',
    'reduceScatter',
    'allGather',
    'reduceScatter',
    'allGather',
  ]);
  const bytes = (3 * SIZES.N * SIZES.D * 4) / 4;
  for (const one of sent) expect(one).toMatchObject({ bytes, formula: bytes });
});

test('one rank sends nothing', async () => {
  for (const sequenceParallel of [false, true]) {
    const { steps } = await tensorFigure({ tp: 1, sequenceParallel });
    expect(steps.filter(({ sent }) => sent)).toEqual([]);
  }
});

test('a step in words', async () => {
  const figure = await tensorFigure({ tp: 2, sequenceParallel: false });
  expect(tensorSummary(figure, 3)).toBe('g, forward. The parts are added up. A rank sends 64 B (allReduce).');
  expect(tensorSummary(figure, 0)).toBe('f, forward. Every rank has the same x: nothing travels.');
});
