import { expect, test } from 'vitest';
import { columns } from '../src/index.ts';

test('the first column to the left, the others to the right, and no space at a line’s end', () => {
  const rows = [
    ['op', 'ms', ''],
    ['a long one', '1.5', 'GB'],
    ['b', '120', ''],
  ];
  expect(columns(rows)).toEqual(['op           ms', 'a long one  1.5  GB', 'b           120']);
  expect(columns([])).toEqual([]);
});
