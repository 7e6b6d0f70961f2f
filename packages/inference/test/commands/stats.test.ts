import { expect, test } from 'vitest';
import { lineOf, measuredOf, sumOf, tableOf } from '../../src/commands/stats.ts';
import type { StepReport } from '../../src/engine/engine.ts';

const cost = { total: 10, transfer: 4, sent: 2048, received: 1024 };
const report = (promptRows: number, answerRows: number): StepReport => ({
  ...{ promptRows, answerRows, running: 1, waiting: 0, reused: 0, cost },
});

test('a line has the whole time, of it computing and waiting, and kB both ways', () => {
  const line = '  10.00 ms  I    6.00 ms  T    4.00 ms  S      2.0 kB  R      1.0 kB  " a\\n"';
  expect(lineOf(cost, ' a\n')).toBe(line);
  expect(sumOf([cost, cost])).toEqual({ total: 20, transfer: 8, sent: 4096, received: 2048 });
  expect(sumOf([])).toEqual({ total: 0, transfer: 0, sent: 0, received: 0 });
});

test('steps with rows of the prompt count for it, the others for the answer', () => {
  const measured = measuredOf([report(8, 0), report(2, 0), report(0, 1), report(0, 1)]);
  expect(measured).toEqual({
    ...{ promptTokensPerSecond: 500, tokensPerSecond: 100 },
    ...{ inference: 6, transfer: 4, sent: 2048, received: 1024 },
  });
  expect(measuredOf([])).toMatchObject({ promptTokensPerSecond: 0, tokensPerSecond: 0, sent: 0 });
});

test('the table has tokens a second, what one took, and the memory of each rank', () => {
  const memory = [
    { weights: 2e6, caches: 1e6 },
    { weights: 1e6, caches: 5e5 },
  ];
  expect(tableOf(measuredOf([report(5, 0), report(0, 1)]), memory).split('\n')).toEqual([
    'prompt       500.0 tokens/s',
    'generation   100.0 tokens/s, 10.00 ms a token',
    'inference    6.00 ms a token',
    'transfer     4.00 ms a token',
    'bytes        2.0 kB sent, 1.0 kB received a token',
    'rank 0       3.0 MB of memory: weights 2.0, keys and values 1.0',
    'rank 1       1.5 MB of memory: weights 1.0, keys and values 0.5',
  ]);
});
