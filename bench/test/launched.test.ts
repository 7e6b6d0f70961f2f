import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test, vi } from 'vitest';
import { launched } from '../src/launched.ts';
import { temporaryFolder } from './command.ts';

const folder = temporaryFolder();
const script = fileURLToPath(new URL('launched-rank.ts', import.meta.url));
const slow = { timeout: 120_000 }; // starts a few processes; seconds, on a machine that does nothing else

test.each([1, 2])('%i ranks: what rank 0 wrote, and no folder is left', slow, async (ranks) => {
  vi.stubEnv('TMPDIR', folder); // nobody else's folders in it
  const task = { some: ['thing'] };
  expect(await launched(ranks, script, task)).toMatchObject({ size: ranks, task });
  expect(readdirSync(folder).filter((name) => name.startsWith('fourfold-ranks-'))).toEqual([]);
  vi.unstubAllEnvs();
});

test("a rank's sentence for the user is thrown as one", slow, async () => {
  await expect(launched(1, script, { fails: 'user' })).rejects.toMatchObject({
    name: 'UserError',
    message: 'fails=user: use another',
  });
});

test('a rank that fails: what it said, and who it was', slow, async () => {
  const failing = launched(2, script, { fails: 'defect' });
  await expect(failing).rejects.toThrow(/rank 1 exited with code 1; its last words:[\s\S]*rank 1 found a defect/);
});

test('ranks end when the process that wants them is killed', slow, async () => {
  const stays = join(folder, 'pid');
  const source = new URL('../src/launched.ts', import.meta.url).href;
  const code = `import { launched } from '${source}'; await launched(2, '${script}', { stays: '${stays}' });`;
  const parent = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], { stdio: 'ignore' });
  const files = [0, 1].map((rank) => `${stays}.${rank}`);
  const written = (file: string) => existsSync(file) && readFileSync(file, 'utf8') !== '';
  await expect.poll(() => files.every(written), { timeout: 60_000, interval: 100 }).toBe(true);
  const pids = files.map((file) => Number(readFileSync(file, 'utf8')));
  expect(pids.map(isAlive)).toEqual([true, true]);
  parent.kill('SIGKILL');
  await expect.poll(() => pids.map(isAlive), { timeout: 30_000, interval: 100 }).toEqual([false, false]);
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0); // signal 0 only asks
    return true;
  } catch {
    return false;
  }
}
