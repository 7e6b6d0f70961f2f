import { expect, test } from 'vitest';
import { freePort } from '../src/launch/machine.ts';
import { CALL, endOf, expectEnd, numbers, unknown, world } from './fault-lies.ts';
import { connectWith, type FalsePeer, frame } from './fault-peer.ts';
import { startRank } from './fault-ranks.ts';

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
  await connectWith(port, (inlet) => inlet.destroy()).catch(() => {}); // rank 0 lets nobody in any more
  const begin = performance.now();
  const { code, stderr, at } = await rank.fate;
  expect(code).toBe(1);
  expect(stderr).toBe('rank 1 died: its connection closed\n');
  expect(at - begin).toBeLessThan(5000);
});

test.concurrent.each<[string, (peer: FalsePeer) => void, RegExp | string]>([
  ['an unknown kind', ({ inlet, group }) => inlet.write(frame({ ...world(group), kind: 77 }, numbers)), unknown],
  [
    'another length than is due',
    ({ inlet, group }) => inlet.write(Buffer.concat([frame(world(group), CALL), frame(world(group), 'five!')])),
    'rank 1 died: it sent a frame of 5 bytes where 16 were due',
  ],
  [
    'half a frame, and silence',
    ({ inlet, group }) =>
      inlet.write(Buffer.concat([frame(world(group), CALL), frame({ ...world(group), length: 16 }, 'half of')])),
    `rank 0 waited 2 s for rank 1 in ${CALL} (group world): rank 1 has called it, but not sent all of it`,
  ],
])('from a peer who knows the secret, %s: rank 0 ends with a sentence', (_, behave, sentence) =>
  expectEnd(behave, sentence),
);
