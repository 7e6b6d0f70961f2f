/**
 * The memory that is computed before a run, against the most that its steps really held.
 */
import { test } from 'vitest';
import { expectEnough, runs, small } from './estimates.ts';

for (const [name, run] of Object.entries(runs))
  test.each([{}, { recompute: 'block' }, small])(`${name}: %j`, (way) => expectEnough(run, way));
