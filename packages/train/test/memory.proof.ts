/** The memory that is computed before a run is enough, and not far too much, in every precision. */
import { test } from 'vitest';
import { expectEnough, runs, smallest, ways } from './estimates.ts';

for (const [name, run] of Object.entries(runs))
  test.each('gradAccSteps' in run ? ways : [...ways, smallest])(`${name}: %j`, (way) => expectEnough(run, way));
