import { expect, test } from 'vitest';
import { Call } from '../src/calls.ts';
import type { Endpoint } from '../src/tcp/endpoint.ts';
import { CHUNK, chunksOf, Round } from '../src/tcp/round.ts';
import { type WireName, wireFor } from '../src/tcp/wire.ts';
import { endpoints, sleep } from './sockets.ts';

/** A round of one call on each of `all`, whose group has them in reverse order. */
function rounds(all: readonly Endpoint[], text = 'allReduce', wire: WireName = 'plain') {
  const ranks = all.map((_, rank) => rank).reverse();
  return all.map((endpoint, rank) => {
    const call = new Call('allReduce', text, 'tp', []);
    const lane = { kind: 'call', group: 5, number: 0 } as const;
    const members = { ranks, rank: ranks.indexOf(rank) };
    return { call, round: new Round({ endpoint, members, lane, call, wire: wireFor(wire, 'float32') }) };
  });
}

const two = async (wire: WireName = 'plain', text?: string) => {
  const all = await endpoints(2);
  const [a, b] = rounds(all, text, wire);
  if (!a || !b) throw new Error('two were asked for');
  return { a, b, all };
};

/** Numbers as bytes. */
const numbers = (length: number, of: (i: number) => number = Math.sin): Uint8Array =>
  new Uint8Array(Float32Array.from({ length }, (_, i) => of(i)).buffer);
const same = (a: Uint8Array, b: Uint8Array) => expect(Buffer.compare(a, b)).toBe(0);

test('chunks are views of all of it, one after the other', () => {
  const view = new Uint8Array(3 * CHUNK + 5).subarray(5);
  expect(chunksOf(view.subarray(0, 0))).toEqual([]);
  for (const length of [1, CHUNK, CHUNK + 1, 3 * CHUNK]) {
    const chunks = chunksOf(view.subarray(0, length));
    expect(chunks.length).toBe(Math.ceil(length / CHUNK));
    let at = 5;
    for (const chunk of chunks) {
      expect([chunk.buffer, chunk.byteOffset]).toEqual([view.buffer, at]);
      expect(chunk.length).toBeLessThanOrEqual(CHUNK);
      at += chunk.length;
    }
    expect(at).toBe(length + 5);
  }
});

test('peers are places in the group, not ranks of the world', async () => {
  const [zero, , two] = rounds(await endpoints(3));
  expect(zero?.round.peers).toEqual([0, 1]); // ranks 2 and 1
  expect(two?.round.peers).toEqual([1, 2]);
});

test('those who call the same meet, and bytes arrive in the order of sending', async () => {
  const { a, b } = await two();
  const x = numbers(CHUNK / 2 + 3); // three chunks
  const [first, second] = [new Uint8Array(x.length), new Uint8Array(8)];
  for (const { round } of [a, b]) {
    round.announce(round.peers, 'allReduce');
    round.expect(round.peers, 'allReduce', ['calls', 'calls']);
  }
  await Promise.all([a.round.met(), b.round.met()]);
  const arrivals = [...b.round.receive(1, first), ...b.round.receive(1, second)];
  expect(arrivals.length).toBe(4);
  a.round.send([0], x);
  a.round.send([0], numbers(2));
  await Promise.all([...arrivals, a.round.sent()]);
  same(first, x);
  same(second, numbers(2));
  expect(a.call.bytes).toBe(x.length + 8); // no headers, no announcements
  expect(b.call.bytes).toBe(0);
});

test('bytes are taken only from those who called the same; the error names both, and ends the run', async () => {
  const { a, b, all } = await two('plain', 'allReduce(sum) of float32 [1000000]');
  const view = new Uint8Array(4 * CHUNK);
  a.round.announce([0], 'barrier');
  a.round.send([0], numbers(1));
  b.round.announce([1], 'allReduce');
  b.round.expect([1], 'allReduce', ['calls', 'receives']);
  const arrivals = b.round.receive(1, view); // four of them, of which only the first is awaited
  const words = 'rank 1 receives allReduce, but rank 0 calls barrier (group tp)';
  await expect(arrivals[0]).rejects.toThrow(words);
  await expect(b.round.met()).rejects.toThrow(words);
  expect(all[1]?.failure?.message).toBe(words);
  expect(view.every((byte) => byte === 0)).toBe(true);
  await sleep(20); // an unhandled rejection of the other three would fail this file
});

test('`sent` is when all has left, and at once where nothing was sent', async () => {
  const { a, b } = await two();
  await a.round.sent();
  const x = new Uint8Array(32 << 20).fill(7); // more than the kernel and a peer that waits for nothing take
  a.round.send([0], x);
  let isSent = false;
  const sent = a.round.sent().then(() => {
    isSent = true;
  });
  await sleep(200);
  expect(isSent).toBe(false);
  const view = new Uint8Array(x.length);
  await Promise.all([sent, ...b.round.receive(1, view)]);
  same(view, x);
});

test('`sent` throws where the run fails before all has left', async () => {
  const { a, all } = await two();
  a.round.send([0], new Uint8Array(32 << 20));
  const sent = expect(a.round.sent()).rejects.toThrow('no more');
  await all[0]?.fail(new Error('no more'));
  await sent;
});

test.each(['plain', 'bfloat16', 'q80'] as const)('%s: what a sender keeps is what all others get', async (wire) => {
  const [a, b, c] = rounds(await endpoints(3), 'broadcast', wire);
  if (!a || !b || !c) throw new Error('three were asked for');
  const x = numbers(CHUNK / 2 + 8 + 1, (i) => Math.sin(i) * 1e-4 * (1 + (i % 97)));
  const [kept, atB, atC] = [x, x, x].map(({ length }) => new Uint8Array(length));
  a.round.send(a.round.peers, x, kept);
  const passed = b.round.receive(2, atB as Uint8Array).map(async (one) => b.round.pass([0], await one));
  await Promise.all([...passed, ...c.round.receive(2, atC as Uint8Array)]);
  same(atB as Uint8Array, kept as Uint8Array);
  same(atC as Uint8Array, kept as Uint8Array);
  const again = new Uint8Array(x.length); // rank 0 got all twice: the second time passed on by rank 1
  await Promise.all(c.round.receive(1, again));
  same(again, kept as Uint8Array);
  const width = { plain: 4, bfloat16: 2, q80: 34 / 32 }[wire];
  expect(a.call.bytes / 2).toBeCloseTo((x.length / 4) * width, -1);
  expect(b.call.bytes).toBe(a.call.bytes / 2);
});

test('a view may be kept in place', async () => {
  const { a, b } = await two('q80');
  const x = numbers(100);
  const exact = Uint8Array.from(x);
  a.round.send([0], x, x);
  const got = new Uint8Array(x.length);
  await Promise.all(b.round.receive(1, got));
  same(got, x);
  expect(Buffer.compare(x, exact)).not.toBe(0);
});
