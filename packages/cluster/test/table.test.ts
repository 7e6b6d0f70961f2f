import { expect, test } from 'vitest';
import { table } from '../src/table.ts';

test('columns are as wide as their widest cell, numbers stand at the right', () => {
  const rows = [
    ['run', 'tok/s', 'mfu', 'memory', 'state'],
    ['a longer name', '1.32K', '', '64 MB', 'completed'],
    ['b', '856', '41.3%', '1.20 GB', ''],
  ];
  expect(table(rows)).toBe(
    [
      'run            tok/s    mfu   memory  state',
      'a longer name  1.32K           64 MB  completed',
      'b                856  41.3%  1.20 GB',
    ].join('\n'),
  );
});

test('a table of names alone', () => expect(table([['run', 'state']])).toBe('run  state'));
