import { expect, test } from 'vitest';
import { type Pending, planRows } from '../../src/engine/plan.ts';
import { greedy } from '../../src/sampler.ts';

const pending = (slot: number, length: number, cached: number): Pending => ({
  ...{ slot, cached, sampling: greedy },
  tokens: Array.from({ length }, (_, i) => 100 * slot + i),
});

test('answers that go on have a row each, and prompts what is left, in the order in which they came', () => {
  const rows = planRows([pending(0, 9, 0), pending(1, 5, 4), pending(2, 9, 2), pending(3, 8, 7)], 13);
  const slots = rows.map(({ slot, position }) => `${slot}:${position}`);
  expect(slots.slice(0, 2)).toEqual(['1:4', '3:7']);
  expect(slots.slice(2, 11)).toEqual(Array.from({ length: 9 }, (_, i) => `0:${i}`));
  expect(slots.slice(11)).toEqual(['2:2', '2:3']);
});

test('only the last token of a sequence wants logits', () => {
  const rows = planRows([pending(0, 4, 1)], 2);
  expect(rows.map(({ wanted }) => wanted)).toEqual(['nothing', 'nothing']);
  expect(planRows([pending(0, 4, 1)], 8)).toEqual([
    { token: 1, slot: 0, position: 1, wanted: 'nothing' },
    { token: 2, slot: 0, position: 2, wanted: 'nothing' },
    { token: 3, slot: 0, position: 3, wanted: 1 },
  ]);
});

test('nobody, no rows', () => {
  expect(planRows([], 8)).toEqual([]);
});
