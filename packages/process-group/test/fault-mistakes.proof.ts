/** Mistakes of whoever starts ranks, one by one: each ends in time, with one sentence and its exit code. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { freePort } from '../src/launch/machine.ts';
import { childrenOf, codes, expectNoAnswer, launchingRanks, secondsAfter, startRank, words } from './fault-ranks.ts';
import { isAlive, start, until } from './launch-command.ts';

vi.setConfig({ maxConcurrency: 3 }); // they wait most of the time, but when they start they compute

test.concurrent('WORLD_SIZE too small: ranks beyond it are sent away, whoever was told it', async () => {
  const port = await freePort();
  const program = ['sleep 2', 'allReduce 4'];
  const told = [2, 2, 2].map((size, rank) => startRank(rank, size, port, program));
  const other = startRank(2, 3, port, program);
  const [first, second, beyond] = await Promise.all(told.map(({ fate }) => fate));
  expect([first?.code, second?.code]).toEqual([0, 0]);
  const range = 'RANK=2 is out of range for WORLD_SIZE=2: use 0 to 1\n';
  expect(beyond).toMatchObject({ code: 2, stderr: range });
  other.process.kill('SIGKILL'); // it may have come when the others had met
});

test.concurrent('ranks that were told other sizes', async () => {
  const port = await freePort();
  const flags = ['--meeting', '4', 'barrier'];
  const ranks = [startRank(0, 2, port, flags), startRank(1, 3, port, flags)];
  const [first, second] = await Promise.all(ranks.map(({ fate }) => fate));
  expect(second).toMatchObject({ code: 2, stderr: 'rank 1 was started with WORLD_SIZE=3, rank 0 with 2\n' });
  expect(first?.code).toBe(2);
  expect(first?.stderr).toMatch(/^rank 0: .*rank 1.* within 4 s: are all ranks running\?\n$/);
});

test.concurrent('a rank that never comes: who waits names it', async () => {
  const port = await freePort();
  const ranks = [0, 1].map((rank) => startRank(rank, 3, port, ['--meeting', '3', 'barrier']));
  await Promise.all(ranks.map((rank) => rank.said(/start/)));
  const begin = performance.now();
  const all = await Promise.all(ranks.map(({ fate }) => fate));
  for (const { stderr } of all) {
    expect(stderr).toMatch(/rank 2/);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  }
  expect(codes(all)).toContain(2); // the first to give up tells the other, which ends with 1 then
  expect(secondsAfter(begin, all)).toBeLessThan(5);
});

test.concurrent('no answer in the time allowed: an address that nobody has', () =>
  expectNoAnswer({ MASTER_ADDR: '192.0.2.1' }, /^rank 1: no answer from 192\.0\.2\.1:\d+ within 1 s: is/));

test.concurrent('no answer in the time allowed: no such name', () =>
  expectNoAnswer({ MASTER_ADDR: 'no-such-host.invalid' }, /no-such-host\.invalid/));

test.concurrent('somebody answers who is not rank 0, or says nothing', async () => {
  const strange = createServer((socket) => socket.on('error', () => {}).write('SSH-2.0-OpenSSH_9.9\r\n')).listen(0);
  const silent = createServer((socket) => socket.on('error', () => {})).listen(0);
  const at = (server: typeof strange) => (server.address() as { port: number }).port;
  const flags = ['--meeting', '1', 'barrier'];
  const ranks = [strange, silent].map((server) => startRank(1, 2, at(server), flags));
  const [misled, ignored] = await Promise.all(ranks.map(({ fate }) => fate));
  for (const server of [strange, silent]) server.close();
  expect(misled?.code).toBe(2);
  expect(misled?.stderr).toMatch(/is not rank 0, it speaks another protocol: check MASTER_PORT/);
  expect(ignored?.code).toBe(2);
  expect(ignored?.stderr).toMatch(/^rank 1: no answer from 127\.0\.0\.1:\d+ within 1 s/);
});

test.concurrent.each([
  ['missing', undefined, 'FOURFOLD_SECRET is missing, and 10.0.0.1 is reached over a network: '],
  ['short', '15 letters only', 'FOURFOLD_SECRET is too short: '],
])('between hosts, a %s secret', async (_, secret, sentence) => {
  const rule = 'it must have at least 16 characters, the same on every host\n';
  const fates = [0, 1].map(
    (rank) =>
      startRank(rank, 2, 29500, ['barrier'], { MASTER_ADDR: '10.0.0.1', FOURFOLD_SECRET: secret as string }).fate,
  );
  for (const fate of await Promise.all(fates)) expect(fate).toMatchObject({ code: 2, stderr: `${sentence}${rule}` });
});

test.concurrent('a stale rendezvous file: the next run does not fall for it; without rank 0 it is told', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'faults-'));
  const path = join(folder, 'run.json');
  const env = { MASTER_ADDR: `file://${path}` };
  const dying = startRank(0, 2, 1, ['barrier'], env);
  const stale = await until(() => readIfThere(path));
  dying.process.kill('SIGKILL');
  await dying.fate;
  const alone = await startRank(1, 2, 1, ['--meeting', '1', 'barrier'], env).fate;
  expect(alone.code).toBe(2);
  expect(alone.stderr).toMatch(/run\.json is stale \(.*does not answer.*\) and was not replaced within 1 s: is rank 0/);

  const program = ['allReduce 100000'];
  const follower = startRank(1, 2, 1, program, env); // it sees the stale one first
  await sleep(1500);
  expect(readFileSync(path, 'utf8')).toBe(stale);
  const fates = await Promise.all([startRank(0, 2, 1, program, env).fate, follower.fate]);
  expect({ codes: codes(fates), words: words(fates) }).toEqual({ codes: [0, 0], words: ['', ''] });
  expect(readIfThere(path)).toBeUndefined();
  rmSync(folder, { recursive: true });
});

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

test.concurrent('the launcher: SIGTERM in the middle of training: exit code 143, and nobody is left', async () => {
  const { process: launcher, ended, said } = start([...launchingRanks(), '100000 allReduce 100000']);
  await said(/> 100000 allReduce/);
  const ranks = childrenOf(launcher.pid as number);
  expect(ranks).toHaveLength(2);
  const begin = performance.now();
  launcher.kill('SIGTERM');
  expect(await ended).toMatchObject({ code: 143 });
  expect(performance.now() - begin).toBeLessThan(5000);
  expect(ranks.filter(isAlive)).toEqual([]);
});

test.concurrent('the launcher: a rank that throws: its words are the report', async () => {
  const { code, stderr } = await start([...launchingRanks(), 'allReduce 10', 'flaky out of luck']).ended;
  expect(code).toBe(1);
  expect(stderr).toMatch(/\nrank [01] exited with code 1; its last words:\n {4}(rank [01] stopped: )?out of luck\n$/);
});

test.concurrent('the launcher: --max-restarts: the second attempt succeeds', async () => {
  const program = ['allReduce 10', 'flaky out of luck', 'allReduce 100000'];
  const { code, stdout, stderr } = await start([...launchingRanks('--max-restarts', '1'), ...program]).ended;
  expect(code).toBe(0);
  expect(stderr).toMatch(/out of luck\nattempt 2 of 2\n$/);
  expect(stdout.match(/done/g)).toHaveLength(2);
});
