/** The comparison of layouts' losses, run as a command: its table, its picture, and a layout that fails. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bench, cellsOf, expectRefused, temporaryFolder } from './command.ts';

const folder = temporaryFolder();
const nano = ['layouts.ts', '--model', 'nano'] as const;
/** The table's rows, as cells. */
const table = (stdout: string): string[][] => stdout.split('\n\n')[1]?.split('\n').map(cellsOf) ?? [];

test('layouts give the losses of one rank, in a table and on a picture', async () => {
  const out = join(folder, 'two.svg');
  const { code, stdout, stderr } = await bench(...nano, '--steps', '3', '--only', 'cp4,dp2pp2', '--out', out);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^nano on moby-dick, 8 sequences a step, 3 steps; .*:\n\n/);
  expect(stdout).toMatch(new RegExp(`\n\nThe curves are in ${out}\n$`));
  const [head, one, ...others] = table(stdout);
  expect(head).toEqual(['layout', 'ranks', 'last loss', 'in 20', 'in all', 'ms a step']);
  expect(one?.slice(0, 2)).toEqual(['one rank', '1']);
  expect(others.map((row) => row.slice(0, 2))).toEqual([
    ['cp4, zigzag', '4'],
    ['dp2 x pp2, interleaved', '4'],
  ]);
  for (const [, , loss, in20, inAll, milliseconds] of others) {
    expect(Math.abs(Number(loss) - Number(one?.[2]))).toBeLessThan(1e-4);
    expect(Number(inAll)).toBeLessThan(1e-5);
    expect(inAll).toBe(in20); // three steps are among the first 20
    expect(Number(milliseconds)).toBeGreaterThan(0);
  }
  const svg = readFileSync(out, 'utf8');
  expect(svg).toContain('The same run in 3 layouts of ranks: nano on moby-dick');
  for (const [name] of table(stdout).slice(1)) expect(svg).toContain(`>${name}</text>`);
  expect(svg.match(/<path /g)).toHaveLength(5); // three curves, two differences
});

// bfloat16 keeps 8 bits of 24: layouts round differently from the first addition on, and twenty steps make it plain.
test('a layout whose losses leave those of one rank fails the command, by name', async () => {
  const out = join(folder, 'apart.svg');
  const flags = ['--steps', '20', '--only', 'dp2pp2', '--precision', 'bfloat16', '--out', out] as const;
  const { code, stdout, stderr } = await bench(...nano, ...flags);
  expect(Number(table(stdout)[2]?.[3])).toBeGreaterThan(1e-5);
  expect(code).toBe(1);
  expect(stderr).toBe('more than 1e-5 from one rank in the first 20 steps: dp2 x pp2, interleaved\n');
  expect(existsSync(out)).toBe(true); // to look at
});

test.each([
  [['--only', 'dp9'], /^--only dp9: use one of dp8, tp4,/],
  [['--steps', '2'], /^--steps 2: .*at least 3/],
])('%j is refused in a sentence, before anything is trained', (flags, sentence) =>
  expectRefused(sentence, 'layouts.ts', ...flags),
);
