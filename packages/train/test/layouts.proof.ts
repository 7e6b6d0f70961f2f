/**
 * Every layout of 1, 2, 4 and 8 ranks and the one of 16, over 20 steps: each with other options, and those of
 * 2 and 4 ranks with every combination of engine, ZeRO and sequence parallelism, with 1, 3 and 8 micro-batches.
 */
import { describe, test } from 'vitest';
import { expectSameAsOneRank, layoutsOf, variant, variantsOf } from './layouts.ts';

const layouts = [...[1, 2, 4, 8].flatMap(layoutsOf), { dp: 2, pp: 2, cp: 2, tp: 2 }];

describe('20 steps', () => {
  test.each(layouts.map((layout, i) => variant(layout, 7 * i + 1)))('%j', (change) => expectSameAsOneRank(change, 20));
});

const few = [...[2, 4].flatMap(layoutsOf), { dp: 2, pp: 2, cp: 2, tp: 2 }];
const all = few.flatMap((layout) => variantsOf(layout));
const GRAD_ACC = [1, 3, 8];

describe('every combination of options', () => {
  test.each(all.map((change, i) => ({ ...change, gradAccSteps: GRAD_ACC[i % 3], tied: i % 2 === 0 })))('%j', (change) =>
    expectSameAsOneRank(change, 2),
  );
});

describe('2 steps, with other options', () => {
  test.each(layouts.map((layout, i) => variant(layout, 5 * i)))('%j', (change) => expectSameAsOneRank(change, 2));
});
