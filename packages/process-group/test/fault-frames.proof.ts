/** A peer who knows the secret and sends what it should not: rank 0 ends with a sentence, whatever it is. */
import { test } from 'vitest';
import { CALL, expectEnd, unknown, world } from './fault-lies.ts';
import { type FalsePeer, frame } from './fault-peer.ts';

test.concurrent.each<[string, (peer: FalsePeer) => void, RegExp | string]>([
  ['a length of 4 GB', ({ inlet, group }) => inlet.write(frame({ ...world(group), length: 2 ** 32 - 1 })), unknown],
  ['of 1 MB and a byte', ({ inlet, group }) => inlet.write(frame({ ...world(group), length: 2 ** 20 + 1 })), unknown],
  ['noise', ({ inlet }) => inlet.write(Buffer.alloc(4 << 20, 0xa7)), unknown],
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
    'goodbye, before it is time',
    ({ inlet }) => inlet.end(frame({ kind: 2 })),
    `rank 1 has ended, and rank 0 waits for it in ${CALL} (group world)`,
  ],
])('from a peer who knows the secret, %s: rank 0 ends with a sentence', (_, behave, sentence) =>
  expectEnd(behave, sentence),
);
