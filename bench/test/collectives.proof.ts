/** The race of collectives, run as a command where there is no PyTorch, and where a rank of it fails. */
import { expect, test } from 'vitest';
import { bench, python, temporaryFolder } from './command.ts';

const folder = temporaryFolder();
const once = ['collectives.ts', '--rounds', '1', '--ranks', '2'] as const;

test('without torch: our times alone, for each size', async () => {
  const without = python(folder, 'without', 'exit 1', 'exit 1');
  const { code, stdout, stderr } = await bench(...once, '--sizes', '4,256', '--python', without);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [, title, , ...rows] = stdout.trimEnd().split('\n');
  expect(title).toMatch(/^2 ranks, all-reduce of float32 over tcp, direct; medians of 300 calls/);
  expect(rows.map((row) => row.trim().split(/\s+/)[0])).toEqual(['4', '256']);
  for (const row of rows) expect(row).toMatch(/^ +\d+ +\d+\.\d{3} +\d+\.\d\d +NaN/);
});

test('a rank that fails: its words, and no table', async () => {
  const failing = python(folder, 'failing', 'exit 0', 'echo no gloo here >&2; exit 1');
  const { code, stdout, stderr } = await bench(...once, '--sizes', '4', '--python', failing);
  expect(code).toBe(1);
  expect(stdout).toBe('');
  expect(stderr).toContain('no gloo here');
});
