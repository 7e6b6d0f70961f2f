/** Runs that must leave no tensor behind, in each kind of layout. */
import { memory } from '@fourfold/runtime';
import { expect } from 'vitest';
import { type Change, trained } from './run.ts';

export const LAYOUTS: readonly Change[] = [
  {},
  { dp: 4, zero: true },
  { pp: 2, ppEngine: 'interleaved', ppChunks: 2, layers: 4, gradAccSteps: 3 },
  { tp: 4, sequenceParallel: true },
  { cp: 4 },
  { dp: 2, pp: 2, cp: 2, tp: 2, gradAccSteps: 2 },
];

/** So many steps, with a validation in the middle, leave no tensor behind that a first run has not left. */
export async function expectNothingLeft(layout: Change, steps: number): Promise<void> {
  const settings = { microBatchSize: 1, steps, evalEvery: steps / 2, evalSequences: 4, ...layout };
  await trained({ ...settings, steps: 1 });
  const before = memory().tensors;
  await trained(settings);
  expect(memory().tensors).toBe(before);
}
