/** Jobs for tests: settings, and what bench measured on GPUs. */
import { fileURLToPath } from 'node:url';
import { openTokenizer } from '@fourfold/data';
import { settings, shapeOf } from '@fourfold/settings';
import type { Job } from '../src/index.ts';
import { measuredRuns } from '../src/measured.ts';

const bytes = await openTokenizer('bytes');

export function jobOf(change: object): Job {
  const config = settings.parse(change);
  return { config, shape: shapeOf(config, bytes) };
}

export const results = fileURLToPath(new URL('../../../bench/results/', import.meta.url));

/** All that bench/results holds of our side, with a name for each. */
export const measured = measuredRuns(results).map((run, i) => ({ ...run, name: `${i}: ${run.file}` }));
