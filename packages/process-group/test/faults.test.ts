import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { freePort } from '../src/launch/machine.ts';
import { introduce, socketStream } from '../src/tcp/handshake.ts';
import {
  codes,
  doorsOf,
  type Fate,
  type RankUnderTest,
  secondsAfter,
  startRank,
  stranger,
  words,
} from './fault-ranks.ts';
import { until } from './launch-command.ts';

vi.setConfig({ maxConcurrency: 3 }); // they wait most of the time, but when they start they compute

const started: RankUnderTest[] = [];
afterAll(() => {
  for (const rank of started) rank.process.kill('SIGKILL'); // those of tests that failed
});

/** Starts one rank for each program; `flags` go to all, `env` to each. */
async function startRanks(programs: readonly string[][], flags: string[] = [], env: Record<string, string> = {}) {
  const port = await freePort();
  const ranks = programs.map((program, rank) => startRank(rank, programs.length, port, [...flags, ...program], env));
  started.push(...ranks);
  return { port, ranks, fates: () => Promise.all(ranks.map(({ fate }) => fate)) };
}

/** 'float32 [4] (group world)' */
const ofWorld = (count: number): string => `float32 [${count}] (group world)`;

describe('a rank is lost', () => {
  test.concurrent('killed with -9 in the middle of an all-reduce of 64 MB: all say who died, and where', async () => {
    const large = '100 allReduce 16000000';
    const { ranks, fates } = await startRanks([[large], [large], [large]], ['--device', 'cpu']);
    await ranks[1]?.said(/> 100[^>]*> 100/);
    const killed = performance.now();
    ranks[1]?.process.kill('SIGKILL');
    const [first, victim, third] = await fates();
    expect(victim).toMatchObject({ signal: 'SIGKILL' });
    for (const fate of [first, third] as Fate[]) {
      expect(fate.code).toBe(1);
      expect(fate.stderr).toMatch(
        /^(rank [02] stopped: )?rank 1 died: its connection closed; rank \d was waiting for it/,
      );
      expect(fate.stderr).toMatch(/ in allReduce\(sum\) of float32 \[16000000\] \(group world\)\n$/);
    }
    expect(secondsAfter(killed, [first, third] as Fate[])).toBeLessThan(5);
  });

  test.concurrent('stopped: the time-out names it and its call, and it hears of it when it goes on', async () => {
    const program = ['allReduce 8', 'sleep 0.5', 'allReduce 100000'];
    const { ranks, fates } = await startRanks([program, program, program], ['--timeout', '2']);
    await ranks[1]?.said(/sleep/);
    ranks[1]?.process.kill('SIGSTOP');
    const stopped = performance.now();
    const others = await Promise.all([ranks[0]?.fate, ranks[2]?.fate]);
    ranks[1]?.process.kill('SIGCONT');
    const inVain = `waited 2 s for rank 1 in allReduce(sum) of ${ofWorld(100000)}: rank 1 has not called it\n`;
    for (const fate of others as Fate[]) {
      expect(fate.code).toBe(1);
      expect(fate.stderr.endsWith(inVain)).toBe(true);
    }
    expect(secondsAfter(stopped, others as Fate[])).toBeLessThan(7);
    const [, back] = await fates();
    expect(back?.code).toBe(1);
    expect(back?.stderr).toMatch(/^rank [02] waited 2 s for rank 1 in allReduce/);
  });

  test.concurrent('it never calls: the same', async () => {
    const { ranks, fates } = await startRanks([['barrier'], ['sleep 3', 'barrier']], ['--timeout', '1']);
    await ranks[0]?.said(/barrier/);
    const begin = performance.now();
    const all = await fates();
    expect(codes(all)).toEqual([1, 1]);
    const inVain = 'rank 0 waited 1 s for rank 1 in barrier (group world): rank 1 has not called it\n';
    expect(words(all)).toEqual([inVain, inVain]);
    expect(secondsAfter(begin, all.slice(0, 1))).toBeLessThan(4);
  });

  test.concurrent('it does not take what it is sent: the sender does not wait for ever', async () => {
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

  test.concurrent('killed while ranks meet: those who come later say whom they miss, and nobody waits on', async () => {
    const port = await freePort();
    const early = [0, 1, 2].map((rank) => startRank(rank, 4, port, ['barrier']));
    started.push(...early);
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
    started.push(late);
    await late.said(/start/);
    const came = performance.now();
    const fate = await late.fate;
    expect(fate.stderr).toMatch(/^rank 3: no answer from .* within 1 s: is rank 0 running/);
    expect(secondsAfter(came, [fate])).toBeLessThan(5);
  });

  test.concurrent('it throws: all end with its words', async () => {
    const others = ['allReduce 10', 'allReduce 10'];
    const { fates } = await startRanks([others, ['allReduce 10', 'throw the loss is not a number'], others]);
    const all = await fates();
    expect(codes(all)).toEqual([1, 1, 1]);
    const passedOn = expect.stringMatching(/^(rank [02] stopped: )?rank 1 stopped: the loss is not a number\n$/);
    expect(words(all)).toEqual([passedOn, 'the loss is not a number\n', passedOn]);
  });

  test.concurrent.each([
    ['while others wait', ['barrier', 'sleep 0.3'], ['barrier', 'allReduce 5']],
    ['before others wait', ['barrier'], ['barrier', 'sleep 2.5', 'allReduce 5']],
  ])('it ends early, %s', async (_, early, late) => {
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
});

describe('ranks call what does not fit: every rank names both and their calls', () => {
  const sum = `allReduce(sum) of ${ofWorld(4)}`.replace(' (group world)', '');
  test.concurrent.each([
    ['collectives', ['allReduce 4'], ['broadcast 4 0'], `calls ${sum}`, 'calls broadcast(root 0) of float32 [4]'],
    ['shapes', ['allReduce 4'], ['allReduce 5'], `calls ${sum}`, 'calls allReduce(sum) of float32 [5]'],
    ['shapes of megabytes', ['reduceScatter 3000000'], ['reduceScatter 6000000'], '[3000000]', '[6000000]'],
    ['messages', ['send 4 1', 'barrier'], ['receive 5 0'], 'sends float32 [4]', 'receives float32 [5]'],
  ])('other %s', async (_, usual, odd, hasUsual, hasOdd) => {
    const third = usual[0]?.startsWith('send') ? ['barrier'] : usual;
    const { fates } = await startRanks([usual, odd, third]);
    const all = await fates();
    expect(codes(all)).toEqual([1, 1, 1]);
    for (const { stderr } of all) {
      expect(stderr.match(/rank \d (calls|sends|receives)/g)).toHaveLength(2);
      expect(stderr).toContain('rank 1');
      expect(stderr).toContain(hasUsual);
      expect(stderr).toContain(hasOdd);
      expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    }
  });

  test.concurrent('two that both receive: the time-out says of whom and what', async () => {
    const { fates } = await startRanks([['receive 4 1'], ['receive 4 0']], ['--timeout', '1']);
    const all = await fates();
    expect(codes(all)).toEqual([1, 1]);
    for (const { stderr } of all)
      expect(stderr).toMatch(/rank (0|1) waited 1 s for rank (0|1) in sendReceive\(float32 \[4\] from rank \d\)/);
  });
});

// ## Strangers

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
  started.push(...ranks);
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
  started.push(...ranks.slice(2));
  const all = await Promise.all(ranks.map(({ fate }) => fate));
  expect({ codes: codes(all), words: words(all) }).toEqual({ codes: [0, 0, 0], words: ['', '', ''] });
  for (const { socket, gone } of strangers) {
    const heard = await gone;
    expect(socket.destroyed).toBe(true);
    expect(heard.length).toBeLessThanOrEqual(8 + 32 + 32); // magic, nonce, and zeros for a proof
  }
});

/** The ports of the store and of the ranks' own, once all are open. */
function openDoors(ranks: readonly RankUnderTest[], store: number): Promise<[number, number[]]> {
  return until(() => {
    const open = ranks.flatMap(({ pid }) => doorsOf(pid).map((door) => door.port));
    return open.length === ranks.length + 1 ? [store, open.filter((one) => one !== store)] : undefined;
  });
}

test.concurrent('strangers while ranks train: nobody listens any more, and all sums are right', async () => {
  const program = ['allReduce 10', 'sleep 1', '200 allReduce 10000'];
  const port = await freePort();
  const first = startRank(0, 2, port, program);
  started.push(first);
  const [, [own]] = await openDoors([first], port);
  const second = startRank(1, 2, port, program);
  started.push(second);
  await Promise.all([first, second].map((rank) => rank.said(/sleep/)));
  expect([first, second].map(({ pid }) => doorsOf(pid))).toEqual([[], []]);
  for (const door of [port, own as number])
    await expect(
      new Promise((resolve, reject) => connect(door, '127.0.0.1').once('connect', resolve).once('error', reject)),
    ).rejects.toThrow('ECONNREFUSED');
  const all = await Promise.all([first.fate, second.fate]);
  expect({ codes: codes(all), words: words(all) }).toEqual({ codes: [0, 0], words: ['', ''] });
});
