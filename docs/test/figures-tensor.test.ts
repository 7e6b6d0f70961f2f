/** The figure of split products against products made here, and the formulas of the bytes. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { joined, type Matrix, SIZES, type Split, type Step, tensorFigure } from '../src/figures/tensor.ts';

beforeAll(() => tf.setBackend('cpu'));

/** a · bᵀ, and a · b. */
const timesT = (a: Matrix, b: Matrix): Matrix => a.map((x) => b.map((y) => dot(x, y)));
const times = (a: Matrix, b: Matrix): Matrix => timesT(a, b[0]?.map((_, i) => b.map((row) => row[i] as number)) ?? []);
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
    const [, columns, rows, , , backRows, backColumns] = steps as [Step, Step, Step, Step, Step, Step, Step];
    expect(whole(columns, 2)).toEqual(timesT(whole(columns, 0), whole(columns, 1)));
    expect(whole(rows, 2)).toEqual(timesT(whole(rows, 0), whole(rows, 1)));
    expect(whole(backRows, 2)).toEqual(times(whole(backRows, 0), whole(backRows, 1)));
    expect(whole(backColumns, 2)).toEqual(times(whole(backColumns, 0), whole(backColumns, 1)));
  });

  test('an edge changes how a matrix lies, not what it is', async () => {
    const { steps } = await tensorFigure({ tp, sequenceParallel });
    for (const i of [0, 3, 4, 7]) expect(whole(steps[i] as Step, 0)).toEqual(whole(steps[i] as Step, 1));
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
    'allGather',
    'reduceScatter',
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

test('parts are joined along the axis they were split', () => {
  const parts: Matrix[] = [[[1, 2]], [[3, 4]]];
  const results: [Exclude<Split, 'partial'>, Matrix][] = [
    ['same', [[1, 2]]],
    ['rows', [[1, 2], [3, 4]]], // biome-ignore format: rows
    ['columns', [[1, 2, 3, 4]]],
  ];
  for (const [split, result] of results) expect(joined(parts, split)).toEqual(result);
});
