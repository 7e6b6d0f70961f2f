/** A layout of ranks, run as the turn of a benchmark, has the losses of one rank. */
import { expect, test } from 'vitest';
import { trained } from '../src/training.ts';
import { tiny } from './command.ts';

test('a layout of ranks has the same losses', async () => {
  const one = await trained(tiny);
  expect(one).toHaveLength(2);
  const two = await trained({ ...tiny, dp: 2, microBatchSize: 1, zero: true });
  two.forEach(({ loss }, i) => {
    expect(Math.abs(loss / (one[i]?.loss ?? 0) - 1)).toBeLessThan(1e-6);
  });
});
