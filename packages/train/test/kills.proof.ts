/**
 * kill -9 at any moment, of a rank or of all, loses no checkpoint that was complete, and changes no bit of what the run
 * ends with. `npx tsx packages/train/test/kills.ts 100` does it a hundred times.
 */
import { expect, test } from 'vitest';
import { killed } from './kills.ts';

test('ten kills', async () => {
  const { kills, resumed, damaged, different } = await killed(10, 7);
  expect({ kills, damaged, different }).toEqual({ kills: 10, damaged: 0, different: 0 });
  expect(resumed).toBeGreaterThan(0);
});
