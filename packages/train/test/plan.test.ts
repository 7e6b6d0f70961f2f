/**
 * What a plan says, against runs: traffic to the byte in every layout, and memory in some; `nx run train:proof` takes
 * the memory of all.
 */
import { openBackend } from '@fourfold/runtime';
import { beforeAll, expect, test } from 'vitest';
import { isClose, LAYOUTS, peakRatios, traffic } from './planned.ts';

beforeAll(() => openBackend({ device: 'cpu' }));

test.each(LAYOUTS)('every rank sends what was planned, to the byte: %j', async (change) => {
  const { counted, planned } = await traffic(change);
  expect(planned).toEqual(counted);
});

const some = [
  {},
  { recompute: 'selective' },
  { recompute: 'block' },
  { dp: 2, zero: true },
  { tp: 2 },
  { pp: 2, gradAccSteps: 3 },
];

test('the memory of a rank is within 10 % of the plan', async () => {
  for (const [i, ratios] of (await peakRatios(some)).entries())
    for (const ratio of ratios) expect(ratio, JSON.stringify(some[i])).toSatisfy(isClose);
}, 120_000);
