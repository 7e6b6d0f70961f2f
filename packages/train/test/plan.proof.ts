/** The planned memory of a couple of dozen layouts, against what processes held. */
import { expect, test } from 'vitest';
import { isClose, LAYOUTS, peakRatios } from './planned.ts';

test('the memory of a rank is within 10 % of the plan, in all layouts', async () => {
  const all = await peakRatios(LAYOUTS);
  const lines = all.map(
    (ratios, i) => `${ratios.map(({ planned }) => planned.toFixed(3)).join(' ')}  ${JSON.stringify(LAYOUTS[i])}`,
  );
  console.log(`planned over measured, by stage:\n${lines.join('\n')}`);
  for (const [i, ratios] of all.entries())
    for (const ratio of ratios) expect(ratio, JSON.stringify(LAYOUTS[i])).toSatisfy(isClose);
}, 600_000);
