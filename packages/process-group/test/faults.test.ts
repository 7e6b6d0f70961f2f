import { connect } from 'node:net';
import { describe, expect, test, vi } from 'vitest';
import { freePort } from '../src/launch/machine.ts';
import {
  codes,
  doorsOf,
  expectBothNamed,
  type Fate,
  ofWorld,
  openDoors,
  secondsAfter,
  startRank,
  startRanks,
  words,
} from './fault-ranks.ts';

vi.setConfig({ maxConcurrency: 3 }); // they wait most of the time, but when they start they compute

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

  test.concurrent('it throws: all end with its words', async () => {
    const others = ['allReduce 10', 'allReduce 10'];
    const { fates } = await startRanks([others, ['allReduce 10', 'throw the loss is not a number'], others]);
    const all = await fates();
    expect(codes(all)).toEqual([1, 1, 1]);
    const passedOn = expect.stringMatching(/^(rank [02] stopped: )?rank 1 stopped: the loss is not a number\n$/);
    expect(words(all)).toEqual([passedOn, 'the loss is not a number\n', passedOn]);
  });
});

test.concurrent('ranks call other collectives: every rank names both and their calls', () =>
  expectBothNamed(
    ['allReduce 4'],
    ['broadcast 4 0'],
    ['calls allReduce(sum) of float32 [4]', 'calls broadcast(root 0) of float32 [4]'],
  ));

test.concurrent('strangers while ranks train: nobody listens any more, and all sums are right', async () => {
  const program = ['allReduce 10', 'sleep 1', '200 allReduce 10000'];
  const port = await freePort();
  const first = startRank(0, 2, port, program);
  const [, [own]] = await openDoors([first], port);
  const second = startRank(1, 2, port, program);
  await Promise.all([first, second].map((rank) => rank.said(/sleep/)));
  expect([first, second].map(({ pid }) => doorsOf(pid))).toEqual([[], []]);
  for (const door of [port, own as number])
    await expect(
      new Promise((resolve, reject) => connect(door, '127.0.0.1').once('connect', resolve).once('error', reject)),
    ).rejects.toThrow('ECONNREFUSED');
  const all = await Promise.all([first.fate, second.fate]);
  expect({ codes: codes(all), words: words(all) }).toEqual({ codes: [0, 0], words: ['', ''] });
});
