/**
 * What a plan says, against runs: traffic to the byte, and memory, in some layouts; `nx run train:proof` takes all.
 */
import { openBackend } from '@fourfold/runtime';
import { beforeAll, expect, test } from 'vitest';
import { expectPlannedTraffic, isClose, peakRatios } from './planned.ts';

beforeAll(() => openBackend({ device: 'cpu' }));

// biome-ignore format: a table
const quick: readonly object[] = [
  { dp: 4, zero: true }, { dp: 2, bucketMegabytes: 0, gradAccSteps: 2 }, { tp: 4, sequenceParallel: true }, { cp: 2 },
  { pp: 2, gradAccSteps: 4, ppEngine: 'interleaved' }, { pp: 2, tp: 2, gradAccSteps: 3, sequenceParallel: true },
];
test.each(quick)('every rank sends what was planned, to the byte: %j', expectPlannedTraffic);

const some = [{}, { dp: 2, zero: true }];

test('the memory of a rank is within 10 % of the plan', async () => {
  for (const [i, ratios] of (await peakRatios(some)).entries())
    for (const ratio of ratios) expect(ratio, JSON.stringify(some[i])).toSatisfy(isClose);
}, 120_000);
