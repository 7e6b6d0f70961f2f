/** The command as a user starts it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const bin = fileURLToPath(new URL('../bin/fourfold.mjs', import.meta.url));
const run = (...argv: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...argv], { encoding: 'utf8' });
  return { status, stdout, stderr };
};

const folder = mkdtempSync(join(tmpdir(), 'fourfold-command-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('without a command it lists them', () => {
  const { status, stdout, stderr } = run();
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toMatch(/^npx fourfold COMMAND\n\nCommands:\n {2}launch {6}Starts a script/);
  expect(run('--help').stdout).toBe(stdout);
});

test('each command tells its settings', () => {
  expect(run('launch', '--help').stdout).toMatch(/^npx fourfold launch \[flags\]/);
  expect(run('slurm', '--help').stdout).toMatch(/^npx fourfold slurm COMMAND/);
  expect(run('kubernetes', '--help').stdout).toMatch(/^npx fourfold kubernetes CONFIG/);
  expect(run('metrics', '--help')).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^npx fourfold metrics DIR/),
  });
});

test('a mistake is one sentence and exit code 2', () => {
  const words = 'launch, slurm, kubernetes, metrics';
  for (const name of ['lunch', 'constructor'])
    expect(run(name)).toEqual({ status: 2, stdout: '', stderr: `${name} is not a command: use ${words}\n` });
  expect(run('metrics', join(folder, 'none'))).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/is not there/),
  });
});

test("a launched script's exit code is the command's", () => {
  const script = join(folder, 'script.mjs');
  writeFileSync(script, 'console.log(process.env.RANK); process.exitCode = 3;');
  expect(run('launch', '--nproc', '1', script)).toMatchObject({ status: 3, stdout: '[rank 0] 0\n' });
});
