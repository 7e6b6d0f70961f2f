import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-bench-'));
afterAll(() => rmSync(folder, { recursive: true }));
const script = fileURLToPath(new URL('../src/collectives.ts', import.meta.url));

/** Runs the command as a user does. */
function bench(...flags: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', script, '--rounds', '1', ...flags]);
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      said[stream] += text;
    });
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, ...said })));
}

/** A stand-in for Python: run as `python -c 'import torch'`, and as each rank of torch_collectives.py. */
function python(name: string, onImport: string, onRank: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\nif [ "$1" = -c ]; then ${onImport}; else ${onRank}; fi\n`);
  chmodSync(path, 0o755);
  return path;
}

test('without torch: our times alone, for each size', async () => {
  const without = python('without', 'exit 1', 'exit 1');
  const { code, stdout, stderr } = await bench('--ranks', '2', '--sizes', '4,256', '--python', without);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [, title, , ...rows] = stdout.trimEnd().split('\n');
  expect(title).toMatch(/^2 ranks, all-reduce of float32 over tcp, direct; medians of 300 calls/);
  expect(rows.map((row) => row.trim().split(/\s+/)[0])).toEqual(['4', '256']);
  for (const row of rows) expect(row).toMatch(/^ +\d+ +\d+\.\d{3} +\d+\.\d\d +NaN/);
});

test('beside torch: the ratio of the medians', async () => {
  const ranks = `echo '{"4": [1000, 3000, 2000]}'`;
  const fake = python('with', 'exit 0', ranks);
  const { code, stdout, stderr } = await bench('--ranks', '2', '--sizes', '4', '--algorithm', 'ring', '--python', fake);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const row = stdout.trimEnd().split('\n').at(-1) as string;
  expect(row).toMatch(/2000\.000 +0\.00 +0\.00 of the time$/);
});

test('a rank that fails: its words, and no table', async () => {
  const failing = python('failing', 'exit 0', 'echo no gloo here >&2; exit 1');
  const { code, stdout, stderr } = await bench('--ranks', '2', '--sizes', '4', '--python', failing);
  expect(code).toBe(1);
  expect(stdout).toBe('');
  expect(stderr).toContain('no gloo here');
});

test.each([
  [['--ranks', '1'], /^--ranks 1: .*at least 2/],
  [['--transport', 'smoke'], /^--transport smoke: .*tcp, nccl/],
])('%j is refused in a sentence', async (flags, sentence) => {
  const { code, stderr } = await bench(...flags);
  expect(code).toBe(2);
  expect(stderr).toMatch(sentence);
  expect(stderr.trimEnd()).not.toContain('\n');
});
