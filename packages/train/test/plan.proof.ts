/** The planned memory of a couple of dozen layouts, against what processes held. */
import { expect, test } from 'vitest';
import { LAYOUTS, peakRatios } from './planned.ts';

test('the memory of a rank is within 10 % of the plan, in all layouts', async () => {
  const all = await peakRatios(LAYOUTS);
  const lines = all.map(
    (ratios, i) => `${ratios.map((ratio) => ratio.toFixed(3)).join(' ')}  ${JSON.stringify(LAYOUTS[i])}`,
  );
  console.log(`planned over measured, by stage:\n${lines.join('\n')}`);
  for (const [i, ratios] of all.entries())
    for (const ratio of ratios) expect(Math.abs(ratio - 1), JSON.stringify(LAYOUTS[i])).toBeLessThan(0.1);
}, 600_000);
