import { expect, test } from 'vitest';
import { bench } from './command.ts';

const nano = ['cost.ts', '--sizes', 'nano', '--rounds', '1', '--steps', '2', '--warmup', '1'] as const;
const slow = { timeout: 180_000 }; // trains four times; seconds, on a machine that does nothing else

test('a row for each layout, with the ratio of its step to that of one rank', slow, async () => {
  const { code, stdout, stderr } = await bench(...nano, '--layouts', 'local16,dp4');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [title, , head, ...rows] = stdout.trimEnd().split('\n');
  expect(title).toMatch(/, \d+ cores; a step in milliseconds, median of 2$/);
  expect(head?.trim().split(/ {2,}/)).toEqual(['ranks', 'size', 'tokens', 'one rank', 'ranks', 'ratio']);
  const cells = rows.map((row) => row.split(/ {2,}/));
  expect(cells.map((row) => row.slice(0, 3))).toEqual([
    ['16 local, dp2 x pp2 x cp2 x tp2', 'nano', '256'],
    ['4 tcp processes, dp4', 'nano', '256'],
  ]);
  for (const [, , , one, many, ratio] of cells)
    expect(Math.abs(Number(ratio) / (Number(many) / Number(one)) - 1)).toBeLessThan(0.02); // all three are rounded
});

test.each([
  [['--layouts', 'tp9'], /^--layouts tp9: use one of local16, dp4, dp2tp2/],
  [['--sizes', 'huge'], /^--sizes huge: use one of nano, micro,/],
  [['--rounds', '0'], /^--rounds 0: /],
])('%j is refused in a sentence', async (flags, sentence) => {
  const { code, stdout, stderr } = await bench('cost.ts', ...flags);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(sentence);
  expect(stderr.trimEnd()).not.toContain('\n');
});
