import { afterAll, expect, test } from 'vitest';
import { freePort } from '../src/launch/machine.ts';
import { connectWith, type FalsePeer, frame, meetFalsely } from './fault-peer.ts';
import { type RankUnderTest, startRank } from './fault-ranks.ts';

/** What rank 0 waits for all the while: four float32 of rank 1, in the world's collective 1. */
const CALL = 'allReduce(sum) of float32 [4]';

const started: RankUnderTest[] = [];
afterAll(() => {
  for (const rank of started) rank.process.kill('SIGKILL'); // those of tests that failed
});

/** Rank 0's end, when rank 1 has met it and then behaves like this. */
async function endOf(behave: (peer: FalsePeer) => void) {
  const port = await freePort();
  const rank = startRank(0, 2, port, ['--timeout', '2', 'allReduce 4']);
  started.push(rank);
  const peer = await meetFalsely(port);
  await rank.said(/> allReduce/);
  const begin = performance.now();
  behave(peer);
  const { code, stdout, stderr, at } = await rank.fate;
  return { code, stderr, seconds: (at - begin) / 1000, megabytes: Number(/rss (\d+)/.exec(stdout)?.[1]) };
}

const numbers = Buffer.from(Float32Array.of(10, 10, 10, 10).buffer);
const world = (group: number) => ({ group, number: 1 });

test('a true peer: rank 0 gets what it sent', async () => {
  const { code, stderr } = await endOf(({ inlet, group }) => {
    const twos = Buffer.from(Float32Array.of(2, 2, 2, 2).buffer);
    inlet.write(Buffer.concat([frame(world(group), CALL), frame(world(group), twos)]));
    inlet.end(frame({ kind: 2 })); // goodbye
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
});

test('a peer that is gone before all have met: rank 0 does not wait for it', async () => {
  const port = await freePort();
  const rank = startRank(0, 2, port, ['barrier']);
  started.push(rank);
  await connectWith(port, (inlet) => inlet.destroy()).catch(() => {}); // rank 0 lets nobody in any more
  const begin = performance.now();
  const { code, stderr, at } = await rank.fate;
  expect(code).toBe(1);
  expect(stderr).toBe('rank 1 died: its connection closed\n');
  expect(at - begin).toBeLessThan(5000);
});

const unknown = 'rank 1 died: it sent a frame of no known kind, or one that is too long';

test.concurrent.each<[string, (peer: FalsePeer) => void, RegExp | string]>([
  ['a length of 4 GB', ({ inlet, group }) => inlet.write(frame({ ...world(group), length: 2 ** 32 - 1 })), unknown],
  ['of 1 MB and a byte', ({ inlet, group }) => inlet.write(frame({ ...world(group), length: 2 ** 20 + 1 })), unknown],
  ['an unknown kind', ({ inlet, group }) => inlet.write(frame({ ...world(group), kind: 77 }, numbers)), unknown],
  ['noise', ({ inlet }) => inlet.write(Buffer.alloc(4 << 20, 0xa7)), unknown],
  [
    'another length than is due',
    ({ inlet, group }) => inlet.write(Buffer.concat([frame(world(group), CALL), frame(world(group), 'five!')])),
    'rank 1 died: it sent a frame of 5 bytes where 16 were due',
  ],
  [
    'bytes on the connection that it only reads',
    ({ outlet }) => outlet.write('hello'),
    'rank 1 died: it sent bytes on a connection that it only reads',
  ],
  [
    'a megabyte of words',
    ({ inlet, group }) => inlet.write(frame(world(group), 'x'.repeat(2 ** 20))),
    /^rank 0 calls allReduce\(sum\) of float32 \[4\], but rank 1 calls x{1000} \(group world\)\n$/,
  ],
  [
    'a megabyte of last words',
    ({ inlet }) => inlet.write(frame({ kind: 3 }, 'x'.repeat(2 ** 20))),
    /^rank 1 stopped: x{1000}\n$/,
  ],
  [
    'half a frame, and its end',
    ({ inlet, group }) =>
      inlet.end(Buffer.concat([frame(world(group), CALL), frame({ ...world(group), length: 16 }, 'half of')])),
    `rank 1 died: its connection closed; rank 0 was waiting for it in ${CALL} (group world)`,
  ],
  [
    'half a frame, and silence',
    ({ inlet, group }) =>
      inlet.write(Buffer.concat([frame(world(group), CALL), frame({ ...world(group), length: 16 }, 'half of')])),
    `rank 0 waited 2 s for rank 1 in ${CALL} (group world): rank 1 has called it, but not sent all of it`,
  ],
  [
    'goodbye, before it is time',
    ({ inlet }) => inlet.end(frame({ kind: 2 })),
    `rank 1 has ended, and rank 0 waits for it in ${CALL} (group world)`,
  ],
])('from a peer who knows the secret, %s: rank 0 ends with a sentence', async (_, behave, sentence) => {
  const { code, stderr, seconds, megabytes } = await endOf(behave);
  expect(code).toBe(1);
  if (typeof sentence === 'string') expect(stderr.startsWith(sentence)).toBe(true);
  else expect(stderr).toMatch(sentence);
  expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  expect(seconds).toBeLessThan(5);
  expect(megabytes).toBeLessThan(300); // an idle rank has 130
});
