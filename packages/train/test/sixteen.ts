/** A run on 16 ranks beside the run on one. */
import { expect } from 'vitest';
import { trained } from './run.ts';

/** Fails unless 16 ranks learn what one learns in so many steps, validate the same, and write the same. */
export async function expectSameOnSixteen(steps: number): Promise<void> {
  const settings = { steps, sampleTokens: 30, temperature: 0 };
  const one = await trained({ ...settings, microBatchSize: 8 });
  const layout = { dp: 2, pp: 2, cp: 2, tp: 2, microBatchSize: 2, gradAccSteps: 2 };
  const many = await trained({ ...settings, ...layout });
  for (const [i, loss] of one.losses.slice(0, 20).entries())
    expect(Math.abs((many.losses[i] as number) / loss - 1)).toBeLessThan(1e-5);
  expect(Math.abs(many.validation / one.validation - 1)).toBeLessThan(1e-4); // those few steps later
  const sample = (said: string) => said.split('\n').find((line) => line.startsWith('The ') && !line.includes('loss'));
  expect(sample(many.said)).toBe(sample(one.said));
  expect(many.said).toContain(`What each rank sent in ${steps} steps`);
  expect(many.said).not.toContain('!='); // every count is its formula's
}
