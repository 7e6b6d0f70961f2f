/** Ranks that come late, or never, or go early, calls that don't fit, and strangers: every rank's end is a sentence. */
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { freePort } from '../src/launch/machine.ts';
import { introduce, socketStream } from '../src/tcp/handshake.ts';
import {
  codes,
  expectBothNamed,
  type Fate,
  openDoors,
  secondsAfter,
  startRank,
  startRanks,
  stranger,
  words,
} from './fault-ranks.ts';

vi.setConfig({ maxConcurrency: 3 }); // they wait most of the time, but when they start they compute

test.concurrent('a rank never calls: the time-out names it and the call', async () => {
  const { ranks, fates } = await startRanks([['barrier'], ['sleep 3', 'barrier']], ['--timeout', '1']);
  await ranks[0]?.said(/barrier/);
  const begin = performance.now();
  const all = await fates();
  expect(codes(all)).toEqual([1, 1]);
  const inVain = 'rank 0 waited 1 s for rank 1 in barrier (group world): rank 1 has not called it\n';
  expect(words(all)).toEqual([inVain, inVain]);
  expect(secondsAfter(begin, all.slice(0, 1))).toBeLessThan(4);
});

test.concurrent('a rank does not take what it is sent: the sender does not wait for ever', async () => {
  const { ranks, fates } = await startRanks([['send 16000000 1'], ['sleep 6', 'barrier']], ['--timeout', '1']);
  await ranks[0]?.said(/send/);
  const begin = performance.now();
  const all = await fates();
  expect(codes(all)).toEqual([1, 1]);
  const what = 'sendReceive(float32 [16000000] to rank 1)';
  expect(all[0]?.stderr).toBe(
    `rank 0 waited 1 s for rank 1 in ${what} (group world): rank 1 has not taken all of it\n`,
  );
  expect(secondsAfter(begin, all.slice(0, 1))).toBeLessThan(5.5);
});

test.concurrent('a rank is killed while ranks meet: who comes later says whom it misses', async () => {
  const port = await freePort();
  const early = [0, 1, 2].map((rank) => startRank(rank, 4, port, ['barrier']));
  await openDoors(early, port);
  await sleep(1000); // they have met one another
  early[1]?.process.kill('SIGKILL');
  const killed = performance.now();
  const waiting = (await Promise.all([early[0]?.fate, early[2]?.fate])) as Fate[];
  expect(codes(waiting)).toEqual([1, 1]);
  for (const { stderr } of waiting) expect(stderr).toBe('rank 1 died: its connection closed\n');
  expect(secondsAfter(killed, waiting)).toBeLessThan(5);
  // The last can't tell a rank 0 that has ended from one that is still to come: it waits as long as it was told.
  const late = startRank(3, 4, port, ['--meeting', '1', 'barrier']);
  await late.said(/start/);
  const came = performance.now();
  const fate = await late.fate;
  expect(fate.stderr).toMatch(/^rank 3: no answer from .* within 1 s: is rank 0 running/);
  expect(secondsAfter(came, [fate])).toBeLessThan(5);
});

test.concurrent.each([
  ['while others wait', ['barrier', 'sleep 0.3'], ['barrier', 'allReduce 5']],
  ['before others wait', ['barrier'], ['barrier', 'sleep 2.5', 'allReduce 5']],
])('a rank ends early, %s', async (_, early, late) => {
  const { ranks, fates } = await startRanks([late, early, late]);
  const all = await fates();
  expect(codes(all)).toEqual([1, 0, 1]);
  for (const rank of [0, 2])
    expect(all[rank]?.stderr).toMatch(
      /^(rank [02] stopped: )?rank 1 has ended, and rank [02] waits for it in allReduce\(sum\) of float32 \[5\]/,
    );
  expect(secondsAfter((all[1] as Fate).at, all)).toBeLessThan(5);
  expect(ranks).toHaveLength(3);
});

test.concurrent.each([
  [
    'shapes',
    ['allReduce 4'],
    ['allReduce 5'],
    'calls allReduce(sum) of float32 [4]',
    'calls allReduce(sum) of float32 [5]',
  ],
  ['shapes of megabytes', ['reduceScatter 3000000'], ['reduceScatter 6000000'], '[3000000]', '[6000000]'],
  ['messages', ['send 4 1', 'barrier'], ['receive 5 0'], 'sends float32 [4]', 'receives float32 [5]'],
])('ranks call other %s: every rank names both and their calls', (_, usual, odd, ...calls) =>
  expectBothNamed(usual, odd, calls),
);

test.concurrent('two that both receive: the time-out says of whom and what', async () => {
  const { fates } = await startRanks([['receive 4 1'], ['receive 4 0']], ['--timeout', '1']);
  const all = await fates();
  expect(codes(all)).toEqual([1, 1]);
  for (const { stderr } of all)
    expect(stderr).toMatch(/rank (0|1) waited 1 s for rank (0|1) in sendReceive\(float32 \[4\] from rank \d\)/);
});

const MAGIC = Buffer.from('FOURFLD\x01');
const STRANGE: Record<string, Buffer> = {
  noise: Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919) % 251)),
  'another protocol': Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'),
  'the right magic, then silence': MAGIC,
  'a huge length after proofs that prove nothing': Buffer.concat([MAGIC, Buffer.alloc(64), Buffer.alloc(6, 0xff)]),
  'a flood': Buffer.concat([MAGIC, Buffer.alloc(8 << 20, 1)]),
};

test.concurrent('strangers at the doors of store and ranks while ranks meet: refused, and sums are right', async () => {
  const port = await freePort();
  const program = ['20 allReduce 10000', 'allReduce 1000000'];
  const ranks = [0, 1].map((rank) => startRank(rank, 3, port, program));
  const [store, doors] = await openDoors(ranks, port);
  expect([store, ...doors]).toHaveLength(3); // rank 0 has two, rank 1 one
  const strangers = [store, ...doors].flatMap((door) =>
    Object.values(STRANGE).map((bytes) => stranger(door as number, bytes)),
  );
  for (const door of [store, ...doors]) {
    const socket = connect(door as number, '127.0.0.1');
    const hello = { purpose: 'peer', rank: 2, worldSize: 3, attempt: 0 } as const;
    await expect(introduce(socketStream(socket), 'not the secret of these', hello)).rejects.toThrow('know the secret');
  }
  ranks.push(startRank(2, 3, port, program));
  const all = await Promise.all(ranks.map(({ fate }) => fate));
  expect({ codes: codes(all), words: words(all) }).toEqual({ codes: [0, 0, 0], words: ['', '', ''] });
  for (const { socket, gone } of strangers) {
    const heard = await gone;
    expect(socket.destroyed).toBe(true);
    expect(heard.length).toBeLessThanOrEqual(8 + 32 + 32); // magic, nonce, and zeros for a proof
  }
});
