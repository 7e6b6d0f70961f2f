import type net from 'node:net';
import { expect, test } from 'vitest';
import { KINDS, type Lane, MAX_FRAME } from '../src/tcp/connection.ts';
import { connectionToTest, frame, sleep, until } from './sockets.ts';

const MEBI = 1 << 20;
const lane = (number: number, group = 7): Lane => ({ kind: 'call', group, number });
const call = (number: number, payload: Uint8Array) => frame(KINDS.call, 7, number, payload);
/** Bytes that differ from place to place, and from one seed to another. */
const pattern = (length: number, seed = 0) => Uint8Array.from({ length }, (_, i) => (i * 31 + (i >>> 8) + seed) & 0xff);
const text = (words: string) => new TextEncoder().encode(words);
const words = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const same = (a: Uint8Array, b: Uint8Array) => expect(Buffer.compare(a, b)).toBe(0);

/** The socket's next `count` bytes. */
async function readExactly(socket: net.Socket, count: number): Promise<Buffer> {
  let bytes: Buffer | null = null;
  await until(() => {
    bytes ??= socket.read(count);
    return bytes !== null;
  });
  return bytes as unknown as Buffer;
}

// ## Frames and lanes

test('a frame is sixteen bytes of header, little-endian, and its payload', async () => {
  const { connection, reader } = await connectionToTest();
  let sent = 0;
  connection.send({ kind: 'message', group: 0x01020304, number: 5 }, text('hello'), () => {
    sent += 1;
  });
  same(await readExactly(reader, 21), frame(KINDS.message, 0x01020304, 5, text('hello')));
  connection.send(lane(1), new Uint8Array(0), () => {
    sent += 1;
  });
  same(await readExactly(reader, 16), frame(KINDS.call, 7, 1, new Uint8Array(0)));
  expect(sent).toBe(2);
});

test('frames of one lane come in the order of sending, those of different lanes in the order of asking', async () => {
  const { connection, writer } = await connectionToTest();
  const asked = [lane(2), lane(1), lane(2), lane(1)].map((one) => connection.receive(one, 'x'));
  for (const [number, payload] of [
    [1, 'a'],
    [1, 'b'],
    [2, 'c'],
    [2, 'd'],
  ] as const)
    writer.write(call(number, text(payload)));
  expect((await Promise.all(asked)).map(words)).toEqual(['c', 'a', 'd', 'b']);
});

test('the same number of another group, or of a message, is another lane', async () => {
  const { connection, writer } = await connectionToTest();
  const asked = [lane(1), lane(1, 8), { kind: 'message', group: 7, number: 1 } as const].map((one) =>
    connection.receive(one, 'x'),
  );
  writer.write(frame(KINDS.message, 7, 1, text('message')));
  writer.write(frame(KINDS.call, 8, 1, text('group 8')));
  writer.write(frame(KINDS.call, 7, 1, text('group 7')));
  expect((await Promise.all(asked)).map(words)).toEqual(['group 7', 'group 8', 'message']);
});

test('early frames are kept, in order, and given out later, the last with what follows them', async () => {
  const { connection, writer } = await connectionToTest();
  for (const payload of ['a', 'b', 'c']) writer.write(call(1, text(payload)));
  await until(() => connection.unanswered().length === 1);
  expect(connection.unanswered()).toEqual(['a']);
  const view = new Uint8Array(1);
  expect(words(await connection.receive(lane(1), 'x'))).toBe('a');
  expect(await connection.receive(lane(1), 'x', view)).toBe(view); // copied to where it is wanted
  expect(words(view)).toBe('b');
  const rest = [connection.receive(lane(1), 'x'), connection.receive(lane(1), 'x')];
  writer.write(call(1, text('d')));
  expect((await Promise.all(rest)).map(words)).toEqual(['c', 'd']);
  expect(connection.unanswered()).toEqual([]);
});

test('a frame that is waited for arrives in the given view and nowhere else', async () => {
  const { connection, writer } = await connectionToTest();
  const memory = new Uint8Array(3 * MAX_FRAME).fill(9);
  const view = memory.subarray(MAX_FRAME, 2 * MAX_FRAME);
  const payload = pattern(MAX_FRAME);
  const asked = connection.receive(lane(1), 'x', view);
  writer.write(call(1, payload));
  expect(await asked).toBe(view);
  same(view, payload);
  expect(memory.subarray(0, MAX_FRAME).every((byte) => byte === 9)).toBe(true);
  expect(memory.subarray(2 * MAX_FRAME).every((byte) => byte === 9)).toBe(true);
});

test('what is called for while it is still coming goes where it is wanted', async () => {
  const { connection, writer } = await connectionToTest();
  const payload = pattern(100_000);
  const bytes = call(1, payload);
  writer.write(bytes.subarray(0, 50_000));
  await sleep(30); // its header has been read: it counts as early
  const view = new Uint8Array(100_000);
  const asked = connection.receive(lane(1), 'x', view);
  writer.write(bytes.subarray(50_000));
  expect(await asked).toBe(view);
  same(view, payload);
});

// ## Back-pressure

/** A mebibyte of one byte. */
const block = (i: number) => new Uint8Array(MEBI).fill(i + 1);

/** Writes `count` frames of a mebibyte, of lanes 100, 101, ...; returns how many bytes the kernel has not taken. */
function flood(writer: net.Socket, count: number): () => number {
  for (let i = 0; i < count; i++) writer.write(call(100 + i, block(i)));
  return () => writer.writableLength;
}

/** Waits until a number stands still for a tenth of a second. */
async function still(value: () => number): Promise<number> {
  for (let last = Number.NaN; ; await sleep(100)) {
    if (value() === last) return last;
    last = value();
  }
}

test('beyond some megabytes that nobody waits for, the sender’s socket takes no more', async () => {
  const { connection, writer } = await connectionToTest();
  const left = flood(writer, 48);
  const stuck = await still(left);
  expect(stuck).toBeGreaterThan(16 * MEBI); // 4 MiB lie here, some more in the kernel's buffers
  const kept = connection.unanswered().length;
  expect(kept).toBeGreaterThanOrEqual(4);
  expect(kept).toBeLessThanOrEqual(5);

  const last = connection.receive(lane(147), 'x'); // somebody waits: on it goes, whatever lies before
  same(await last, block(47));
  expect(left()).toBe(0);
  for (let i = 0; i < 47; i++) same(await connection.receive(lane(100 + i), 'x'), block(i));
});

test('reading goes on when early frames have been fetched', async () => {
  const { connection, writer } = await connectionToTest();
  const left = flood(writer, 24);
  await still(left);
  for (let i = 0; i < 24; i++) same(await connection.receive(lane(100 + i), 'x'), block(i));
  expect(left()).toBe(0);
});

test('sending to a peer that reads nothing ends with `onSent` only once it reads', async () => {
  const { connection, reader } = await connectionToTest();
  let sent = 0;
  for (let i = 0; i < 32; i++)
    connection.send(lane(i), block(i), () => {
      sent += 1;
    });
  await still(() => sent);
  expect(sent).toBeLessThan(20);
  reader.resume();
  await until(() => sent === 32);
});

test('bytes that the peer does not take are waited for: time-outs must see them', async () => {
  const { connection, reader } = await connectionToTest();
  expect(connection.oldestWait()).toBeUndefined();
  const before = performance.now();
  for (let i = 0; i < 32; i++) connection.send(lane(i), block(i), () => {}, 'broadcast');
  await sleep(50);
  expect(connection.oldestWait()?.what).toBe('broadcast');
  expect(connection.oldestWait()?.since).toBeGreaterThanOrEqual(before);
  reader.resume();
  await until(() => connection.oldestWait() === undefined);
});

// ## Waiting, and its end

test('the oldest wait is told, until its frame is there to the last byte', async () => {
  const { connection, writer } = await connectionToTest();
  const first = connection.receive(lane(1), 'allReduce');
  await sleep(5);
  const second = connection.receive(lane(2), 'barrier');
  expect(connection.oldestWait()?.what).toBe('allReduce');
  const bytes = call(1, pattern(1000));
  writer.write(bytes.subarray(0, 500)); // a peer that stops in the middle of a frame
  await sleep(30);
  expect(connection.oldestWait()?.what).toBe('allReduce');
  writer.write(bytes.subarray(500));
  await first;
  expect(connection.oldestWait()?.what).toBe('barrier');
  writer.write(call(2, text('here')));
  await second;
  expect(connection.oldestWait()).toBeUndefined();
});

test('a failure rejects every wait, also that of a frame which has come by half, and all later ones', async () => {
  const { connection, writer } = await connectionToTest();
  const half = connection.receive(lane(1), 'x', new Uint8Array(1000));
  const other = connection.receive(lane(2), 'x');
  writer.write(call(1, pattern(1000)).subarray(0, 500));
  await sleep(30);
  const outcomes = Promise.allSettled([half, other]);
  connection.fail(new Error('rank 3 died'));
  connection.fail(new Error('and so on'));
  const later = connection.receive(lane(3), 'x');
  await expect(later).rejects.toThrow('rank 3 died');
  for (const outcome of await outcomes) {
    expect(outcome.status).toBe('rejected');
    expect((outcome as PromiseRejectedResult).reason).toEqual(new Error('rank 3 died'));
  }
});

test('a peer that dies in the middle of a frame is noticed, and the frame’s wait ends', async () => {
  const { connection, said, writer } = await connectionToTest();
  const half = connection.receive(lane(1), 'x', new Uint8Array(1000));
  writer.write(call(1, pattern(1000)).subarray(0, 500));
  await sleep(30);
  writer.destroy();
  await expect(half).rejects.toThrow('its connection closed');
  expect(said[0]).toBe('broken: its connection closed');
});

test('goodbye is heard after all that was sent before it', async () => {
  const { said, writer } = await connectionToTest();
  writer.write(call(1, text('last')));
  writer.end(frame(KINDS.goodbye, 0, 0, new Uint8Array(0)));
  await until(() => said.length > 1);
  expect(said.slice(0, 2)).toEqual(['goodbye', 'broken: its connection closed']);
});

test('what came before the goodbye can be fetched after it; a wait for more hears that it is closed', async () => {
  const { connection, writer } = await connectionToTest();
  writer.write(call(1, text('last')));
  await until(() => connection.unanswered().length === 1);
  expect(words(await connection.receive(lane(1), 'x'))).toBe('last');
  writer.end(frame(KINDS.goodbye, 0, 0, new Uint8Array(0)));
  await sleep(50);
  await expect(connection.receive(lane(2), 'barrier')).rejects.toThrow('its connection closed');
});

test('a failure of the peer is told in its own words, bounded', async () => {
  const { said, writer } = await connectionToTest();
  writer.write(frame(KINDS.failure, 0, 0, text('no memory left')));
  writer.write(frame(KINDS.failure, 0, 0, text('x'.repeat(5000))));
  await until(() => said.length === 2);
  expect(said).toEqual(['failed: no memory left', `failed: ${'x'.repeat(1000)}`]);
});

test('finish sends its words last and closes this half', async () => {
  const { connection, reader } = await connectionToTest();
  connection.send(lane(1), text('a'));
  const finished = connection.finish({ kind: 'goodbye', group: 0, number: 0 }, new Uint8Array(0));
  const ended = new Promise<void>((resolve) => reader.once('end', resolve));
  same(await readExactly(reader, 33), Buffer.concat([call(1, text('a')), frame(KINDS.goodbye, 0, 0, text(''))]));
  reader.resume();
  await Promise.all([finished, ended]);
});

// ## What can't be believed

test.each([
  ['an unknown kind', frame(4, 0, 0, text('x'))],
  ['a huge kind', frame(0xffffffff, 0, 0, text(''))],
  ['a frame that is too long', frame(KINDS.call, 0, 0, pattern(10)).fill(0xff, 4, 8)],
  ['a frame of one byte more than allowed', call(1, pattern(MAX_FRAME + 1)).subarray(0, 16)],
])('%s breaks the connection', async (_, bytes) => {
  const { said, writer } = await connectionToTest();
  writer.write(bytes);
  await until(() => said.length > 0);
  expect(said[0]).toBe('broken: it sent a frame of no known kind, or one that is too long');
});

test.each([
  ['early', true],
  ['waited for', false],
])('a frame of another length than is due breaks the connection, %s', async (_, early) => {
  const { connection, said, writer } = await connectionToTest();
  const asked = early ? undefined : connection.receive(lane(1), 'x', new Uint8Array(8));
  asked?.catch(() => {});
  writer.write(call(1, pattern(9)));
  if (early) await until(() => connection.unanswered().length === 1);
  await expect(asked ?? connection.receive(lane(1), 'x', new Uint8Array(8))).rejects.toThrow(/frame of 9 bytes/);
  expect(said[0]).toBe('broken: it sent a frame of 9 bytes where 8 were due');
});

test('bytes on the connection that only this end writes break it', async () => {
  const { said, reader } = await connectionToTest();
  reader.write('x');
  await until(() => said.length > 0);
  expect(said[0]).toBe('broken: it sent bytes on a connection that it only reads');
});
