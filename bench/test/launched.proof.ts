/** Ranks don't outlive the process that wanted them, by whatever signal it ends. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { temporaryFolder } from './command.ts';

const folder = temporaryFolder();
const script = fileURLToPath(new URL('launched-rank.ts', import.meta.url));

test('ranks end when the process that wants them is killed', async () => {
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
