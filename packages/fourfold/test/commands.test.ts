/** `npx fourfold` as a user starts it. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test, vi } from 'vitest';
import { commands, helpOfFourfold } from '../src/commands.ts';

const program = fileURLToPath(new URL('../bin/fourfold.mjs', import.meta.url));
const child = fileURLToPath(new URL('../../process-group/test/launch-child.mjs', import.meta.url));

function fourfold(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' });
  return { code: status, stdout, stderr };
}

test('without a command it says which there are', () => {
  expect(fourfold()).toEqual({ code: 0, stdout: `${helpOfFourfold()}\n`, stderr: '' });
  for (const name of commands.keys()) expect(helpOfFourfold()).toContain(`npx fourfold ${name} --help`);
});

test('a name that is no command is a sentence, and exit code 2', () => {
  const names = [...commands.keys()].join(', ');
  const stderr = `lunch is not a command: use npx fourfold with ${names}\n`;
  expect(fourfold('lunch')).toEqual({ code: 2, stdout: '', stderr });
});

test('a command has help of its own', () => {
  const { code, stdout, stderr } = fourfold('generate', '--help');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^npx fourfold generate /);
});

test.each([...commands])('%s has help of its own, in this process', async (name, { run }) => {
  const said = vi.spyOn(console, 'log').mockImplementation(() => {});
  onTestFinished(() => said.mockRestore());
  await run(['--help']);
  expect(process.exitCode).toBe(undefined);
  expect(said.mock.calls.join('\n')).toMatch(new RegExp(`^npx fourfold ${name} `));
});

test('launch gets the rest of the line, and its exit code is the command’s', () => {
  const mistake = { code: 2, stdout: '', stderr: '--nproc 0: use a whole number from 1 to 1024\n' };
  expect(fourfold('launch', '--nproc', '0', child)).toEqual(mistake);
  const { code, stdout } = fourfold('launch', '--nproc', '2', child, 'env');
  expect(code).toBe(0);
  expect(stdout.trim().split('\n')).toHaveLength(2);
});
