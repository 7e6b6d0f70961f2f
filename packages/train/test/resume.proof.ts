/** A run that goes on from a checkpoint, in layouts of many ranks, and from one layout in all others. */
import { test } from 'vitest';
import { expectSameBits, expectSameLosses } from './resumed.ts';
import type { Change } from './run.ts';

test.each<Change>([
  { dp: 2, pp: 2, cp: 2, tp: 2, gradAccSteps: 2 },
  { precision: 'bfloat16', tp: 4, sequenceParallel: true },
])('the same layout: the same bits as if it had not been interrupted: %j', expectSameBits);

test('another layout: the same losses within 1e-5, as layouts differ by themselves', () =>
  expectSameLosses([
    { microBatchSize: 4 },
    { dp: 2, microBatchSize: 2 },
    { tp: 4, sequenceParallel: true, microBatchSize: 4 },
    { dp: 2, pp: 2, cp: 2, tp: 2, zero: true, gradAccSteps: 2 },
  ]));
