/** What was planned for a couple of dozen layouts: traffic to the byte, and memory against what processes held. */
import { openBackend } from '@fourfold/runtime';
import { beforeAll, expect, test } from 'vitest';
import { expectPlannedTraffic, isClose, LAYOUTS, peakRatios } from './planned.ts';

beforeAll(() => openBackend({ device: 'cpu' }));

test.each(LAYOUTS)('every rank sends what was planned, to the byte: %j', expectPlannedTraffic);

const all = [...LAYOUTS, { dp: 2, zero: true }, { pp: 2, gradAccSteps: 3 }];

test('the memory of a rank is within 10 % of the plan, in all layouts', async () => {
  const ratiosOf = await peakRatios(all);
  const lines = ratiosOf.map(
    (ratios, i) => `${ratios.map(({ planned }) => planned.toFixed(3)).join(' ')}  ${JSON.stringify(all[i])}`,
  );
  console.log(`planned over measured, by stage:\n${lines.join('\n')}`);
  for (const [i, ratios] of ratiosOf.entries())
    for (const ratio of ratios) expect(ratio, JSON.stringify(all[i])).toSatisfy(isClose);
}, 600_000);
