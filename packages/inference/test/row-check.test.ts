import { UserError } from '@fourfold/runtime/errors';
import { expect, test } from 'vitest';
import type { Row } from '../src/decoder.ts';
import { checkRows, RowCheck } from '../src/row-check.ts';

const LIMITS = { vocabulary: 10, slots: 2, maxSeqLength: 8, maxRows: 4 };
const row = (slot: number, position: number, more: Partial<Row> = {}): Row => ({
  ...{ token: 1, slot, position, wanted: 'nothing' },
  ...more,
});

test.each<[string, Row[], string]>([
  ['no row', [], 'a step has 1 to 4 rows, and this one has 0'],
  ['too many', Array(5).fill(row(0, 0)), 'a step has 1 to 4 rows, and this one has 5'],
  ['a token past the last', [row(0, 0, { token: 10 })], 'token 10 of slot 0 at position 0: there are 10 tokens'],
  ['a slot below the first', [row(-1, 0)], 'of slot -1'],
  ['half a position', [row(0, 0.5)], 'at position 0.5'],
  ['a position past the last', [row(0, 8)], 'at position 8'],
  ['fewer logits than none', [row(0, 0, { wanted: -2 })], 'wanted=-2 logits'],
])('%s is refused', (_, rows, says) => {
  expect(() => checkRows(rows, LIMITS)).toThrow(UserError);
  expect(() => checkRows(rows, LIMITS)).toThrow(says);
});

test('positions go on from what a slot holds, or over it; a step that is refused changes nothing', () => {
  const check = new RowCheck(LIMITS);
  check.step([row(0, 0), row(0, 1), row(1, 0)]);
  expect(() => check.step([row(0, 2), row(0, 4)])).toThrow('position 4 of slot 0 is not due: the slot holds 3');
  expect(() => check.step([row(0, 3)])).toThrow('position 3 of slot 0 is not due: the slot holds 2');
  check.step([row(0, 0)]);
  expect(() => check.step([row(0, 2)])).toThrow('the slot holds 1'); // what came after is of another text
});

test('no more is copied than is held, and then it is held', () => {
  const check = new RowCheck(LIMITS);
  check.step([row(0, 0), row(0, 1)]);
  expect(() => check.copy(0, 1, 3)).toThrow('3 positions of slot 0 to slot 1: slot 0 holds 2');
  for (const [from, to, length] of [
    [2, 0, 1],
    [0, -1, 1],
    [0, 1, 9],
  ] as const)
    expect(() => check.copy(from, to, length)).toThrow('there are 2 slots of 8 positions');
  check.copy(0, 1, 2);
  check.step([row(1, 2)]);
  check.forget();
  expect(() => check.step([row(1, 1)])).toThrow('the slot holds 0');
});
