/** The example of the README, both ways. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const hello = 'packages/process-group/examples/hello.ts';

const LINES = [
  'dp0 tp0: row 11, column 101, from rank 3 1000',
  'dp0 tp1: row 11, column 1010, from rank 0 1',
  'dp1 tp0: row 1100, column 101, from rank 1 10',
  'dp1 tp1: row 1100, column 1010, from rank 2 100',
];

function run(...args: string[]) {
  const { WORLD_SIZE: _, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, env, encoding: 'utf8' });
  return { status, stderr, lines: stdout.trim().split('\n').sort() };
}

test('as coroutines', () => {
  expect(run('--import', 'tsx', hello)).toEqual({ status: 0, stderr: '', lines: LINES });
});

test('as processes, each named by its place in the mesh', () => {
  const launched = run('packages/process-group/bin/launch.mjs', '--nproc', '4', hello);
  const lines = LINES.map((line) => `[${line.slice(0, 7)}] ${line}`);
  expect(launched).toEqual({ status: 0, stderr: '', lines });
});

test('a world that the mesh does not make: one sentence, and exit code 2', () => {
  const { status, stderr } = run('packages/process-group/bin/launch.mjs', '--nproc', '1', hello);
  expect(status).toBe(2);
  expect(stderr).toContain('dp=2 x pp=1 x cp=1 x tp=2 is 4 ranks, but the world has 1');
  expect(stderr).not.toContain('    at ');
});
