/** What becomes of rank 0 when its peer, which knows the secret, lies. */
import { expect } from 'vitest';
import { freePort } from '../src/launch/machine.ts';
import { type FalsePeer, meetFalsely } from './fault-peer.ts';
import { startRank } from './fault-ranks.ts';

/** What rank 0 waits for all the while: four float32 of rank 1, in the world's collective 1. */
export const CALL = 'allReduce(sum) of float32 [4]';

/** Rank 0's end, when rank 1 has met it and then behaves like this. */
export async function endOf(behave: (peer: FalsePeer) => void) {
  const port = await freePort();
  const rank = startRank(0, 2, port, ['--timeout', '2', 'allReduce 4']);
  const peer = await meetFalsely(port);
  await rank.said(/> allReduce/);
  const begin = performance.now();
  behave(peer);
  const { code, stdout, stderr, at } = await rank.fate;
  return { code, stderr, seconds: (at - begin) / 1000, megabytes: Number(/rss (\d+)/.exec(stdout)?.[1]) };
}

export const numbers = Buffer.from(Float32Array.of(10, 10, 10, 10).buffer);
export const world = (group: number) => ({ group, number: 1 });

/** Rank 0 ends with one sentence, soon, and without having filled its memory. */
export async function expectEnd(behave: (peer: FalsePeer) => void, sentence: RegExp | string): Promise<void> {
  const { code, stderr, seconds, megabytes } = await endOf(behave);
  expect(code).toBe(1);
  if (typeof sentence === 'string') expect(stderr.startsWith(sentence)).toBe(true);
  else expect(stderr).toMatch(sentence);
  expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  expect(seconds).toBeLessThan(5);
  expect(megabytes).toBeLessThan(300); // an idle rank has 130
}

/** What rank 0 says to what is no frame. */
export const unknown = 'rank 1 died: it sent a frame of no known kind, or one that is too long';
