/** The race of a layout against one rank, run as a command for ranks in one process and ranks in four. */
import { expect, test } from 'vitest';
import { bench, cellsOf, expectRefused } from './command.ts';

const nano = ['cost.ts', '--sizes', 'nano', '--rounds', '1', '--steps', '2', '--warmup', '1'] as const;

test('a row for each layout, with the ratio of its step to that of one rank', async () => {
  const { code, stdout, stderr } = await bench(...nano, '--layouts', 'local16,dp4');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [title, , head, ...rows] = stdout.trimEnd().split('\n');
  expect(title).toMatch(/, \d+ cores; a step in milliseconds, median of 2$/);
  expect(cellsOf(head)).toEqual(['ranks', 'size', 'tokens', 'one rank', 'ranks', 'ratio']);
  const cells = rows.map(cellsOf);
  expect(cells.map((row) => row.slice(0, 3))).toEqual([
    ['16 local, dp2 x pp2 x cp2 x tp2', 'nano', '256'],
    ['4 tcp processes, dp4', 'nano', '256'],
  ]);
  for (const [, , , one, many, ratio] of cells)
    expect(Math.abs(Number(ratio) / (Number(many) / Number(one)) - 1)).toBeLessThan(0.02); // all three are rounded
});

test.each([
  [['--sizes', 'huge'], /^--sizes huge: use one of nano, micro,/],
  [['--rounds', '0'], /^--rounds 0: /],
])('%j is refused in a sentence', (flags, sentence) => expectRefused(sentence, 'cost.ts', ...flags));
