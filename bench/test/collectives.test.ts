import { expect, test } from 'vitest';
import { bench, python, temporaryFolder } from './command.ts';

const folder = temporaryFolder();
const once = ['collectives.ts', '--rounds', '1'] as const;

test('without torch: our times alone, for each size', async () => {
  const without = python(folder, 'without', 'exit 1', 'exit 1');
  const { code, stdout, stderr } = await bench(...once, '--ranks', '2', '--sizes', '4,256', '--python', without);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [, title, , ...rows] = stdout.trimEnd().split('\n');
  expect(title).toMatch(/^2 ranks, all-reduce of float32 over tcp, direct; medians of 300 calls/);
  expect(rows.map((row) => row.trim().split(/\s+/)[0])).toEqual(['4', '256']);
  for (const row of rows) expect(row).toMatch(/^ +\d+ +\d+\.\d{3} +\d+\.\d\d +NaN/);
});

test('beside torch: the ratio of the medians', async () => {
  const ranks = `echo '{"4": [1000, 3000, 2000]}'`;
  const fake = python(folder, 'with', 'exit 0', ranks);
  const flags = ['--ranks', '2', '--sizes', '4', '--algorithm', 'ring', '--python', fake];
  const { code, stdout, stderr } = await bench(...once, ...flags);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const row = stdout.trimEnd().split('\n').at(-1) as string;
  expect(row).toMatch(/2000\.000 +0\.00 +0\.00 of the time$/);
});

test('a rank that fails: its words, and no table', async () => {
  const failing = python(folder, 'failing', 'exit 0', 'echo no gloo here >&2; exit 1');
  const { code, stdout, stderr } = await bench(...once, '--ranks', '2', '--sizes', '4', '--python', failing);
  expect(code).toBe(1);
  expect(stdout).toBe('');
  expect(stderr).toContain('no gloo here');
});

test.each([
  [['--ranks', '1'], /^--ranks 1: .*at least 2/],
  [['--transport', 'smoke'], /^--transport smoke: .*tcp, nccl/],
])('%j is refused in a sentence', async (flags, sentence) => {
  const { code, stderr } = await bench(...once, ...flags);
  expect(code).toBe(2);
  expect(stderr).toMatch(sentence);
  expect(stderr.trimEnd()).not.toContain('\n');
});
