/**
 * Every layout of 1, 2 and 4 ranks, some of 8 and the one of 16 compute what one rank computes, for two steps, each
 * with other options. `nx run train:proof` takes all of 8, 20 steps and all options.
 */
import { rankCount } from '@fourfold/process-group';
import { expect, test } from 'vitest';
import { expectSameAsOneRank, layoutsOf, variant } from './layouts.ts';

const layouts = [...[1, 2, 4, 8].flatMap(layoutsOf), { dp: 2, pp: 2, cp: 2, tp: 2 }];

test('there are 35 layouts of 1, 2, 4 and 8 ranks', () => {
  expect(layouts).toHaveLength(35 + 1);
});

const few = layouts.filter((layout, i) => rankCount(layout) !== 8 || i % 4 === 0);
test.each(few.map((layout, i) => variant(layout, 5 * i)))('%j', (change) => expectSameAsOneRank(change, 2));

test.each([
  { pp: 2, tp: 2, gradAccSteps: 8, tied: false },
  { dp: 2, cp: 2, zero: true, gradAccSteps: 3, tied: false },
  { pp: 2, dp: 2, zero: true, gradAccSteps: 3, bucketMegabytes: 0.01 },
  { dp: 2, tp: 2, bucketMegabytes: 0 },
  { pp: 4, ppBalance: 'cost', gradAccSteps: 3 },
  { tp: 4, cp: 2, contextOrder: 'contiguous', recompute: 'block' },
  { tp: 2, cp: 2, pp: 2, sequenceParallel: true, recompute: 'selective' },
])('%j', (change) => expectSameAsOneRank({ dp: 1, pp: 1, cp: 1, tp: 1, ...change }, 2));
