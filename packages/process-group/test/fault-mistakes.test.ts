import { createServer } from 'node:net';
import { expect, test, vi } from 'vitest';
import { freePort } from '../src/launch/machine.ts';
import { childrenOf, expectNoAnswer, launchingRanks, startRank } from './fault-ranks.ts';
import { start } from './launch-command.ts';
import { environmentOf } from './worlds.ts';

const SECRET = environmentOf(0, 2, 1)['FOURFOLD_SECRET'] as string;

vi.setConfig({ maxConcurrency: 3 }); // they wait most of the time, but when they start they compute

// ## Mistakes of the user: one sentence, exit code 2, in time

test.concurrent('a port taken', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  const first = startRank(0, 2, port, ['barrier']);
  const fate = await first.fate;
  server.close();
  const sentence = `127.0.0.1:${port} is taken by another program: choose another MASTER_PORT\n`;
  expect(fate).toMatchObject({ code: 2, stderr: sentence });
});

test.concurrent('no answer in the time allowed: a port on which nobody listens', () =>
  expectNoAnswer({}, /^rank 1: no answer from 127\.0\.0\.1:\d+ within 1 s: is rank 0 running/));

test.concurrent('ranks with two secrets do not meet', async () => {
  const port = await freePort();
  const flags = ['--meeting', '4', 'barrier'];
  const other = { FOURFOLD_SECRET: `${SECRET}, but another` };
  const ranks = [startRank(0, 2, port, flags), startRank(1, 2, port, flags, other)];
  const [first, second] = await Promise.all(ranks.map(({ fate }) => fate));
  expect(second?.code).toBe(2);
  expect(second?.stderr).toMatch(/is not rank 0, it does not know the secret: .* FOURFOLD_SECRET is the same/);
  expect(first?.code).toBe(2);
});

// ## The launcher, with ranks that do compute together

test.concurrent('the launcher: a rank killed with -9: the report names it, and the code is 137', async () => {
  const { process: launcher, ended, said } = start([...launchingRanks(), '100000 allReduce 100000']);
  await said(/> 100000 allReduce/);
  const [, second] = childrenOf(launcher.pid as number);
  const begin = performance.now();
  process.kill(second as number, 'SIGKILL');
  const { code, stderr } = await ended;
  expect(code).toBe(137);
  expect(stderr).toMatch(/rank 1 was killed by SIGKILL\n$/);
  expect(performance.now() - begin).toBeLessThan(5000);
});
