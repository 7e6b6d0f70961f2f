import fc from 'fast-check';
import { expect, test } from 'vitest';
import { freePort } from '../src/launch/machine.ts';
import { introduce, socketStream, welcome } from '../src/tcp/handshake.ts';
import { Inlet } from '../src/tcp/inlet.ts';
import { connectionToTest, frame, inletPair, pair, sleep, until } from './sockets.ts';

const text = (words: string) => new TextEncoder().encode(words);
const words = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const pattern = (length: number, seed = 0) => Uint8Array.from({ length }, (_, i) => (i * 31 + (i >>> 8) + seed) & 0xff);
const same = (a: Uint8Array, b: Uint8Array) => expect(Buffer.compare(a, b)).toBe(0);
const lane = (number: number) => ({ kind: 'call', group: 7, number }) as const;
const call = (number: number, payload: Uint8Array) => frame(0, 7, number, payload);

/** Gives views of these lengths, again and again, and keeps those that were filled. */
function views(lengths: readonly number[]) {
  const given: Uint8Array[] = [];
  const next = () => {
    given.push(new Uint8Array(lengths[given.length % lengths.length] as number));
    return given.at(-1) as Uint8Array;
  };
  return { given, next, filled: () => given.slice(0, -1) };
}

// ## The handshake

test('reads ask for counts and get them, however the bytes come', async () => {
  const { inlet, writer } = await inletPair();
  const first = inlet.read(5);
  writer.write('ab');
  await sleep(10);
  writer.write('cdefgh');
  expect(words(await first)).toBe('abcde');
  expect(words(await inlet.read(0))).toBe('');
  expect(words(await inlet.read(3))).toBe('fgh');
});

test('a whole handshake with the end that accepts', async () => {
  const { dialed: inlet, accepted } = await pair((port) => new Inlet('127.0.0.1', port));
  const hello = { purpose: 'peer', rank: 1, worldSize: 2, attempt: 0 } as const;
  const secret = 'sixteen letters!';
  const [, heard] = await Promise.all([
    introduce(inlet, secret, hello),
    welcome(socketStream(accepted), secret, () => undefined),
  ]);
  expect(heard).toEqual(hello);
  inlet.socket.destroy();
});

test('a read fails where the connection ends before, also one that begins afterwards', async () => {
  const { inlet, writer } = await inletPair();
  const read = inlet.read(3);
  writer.end('ab');
  await expect(read).rejects.toThrow('the connection was closed');
  await expect(inlet.read(3)).rejects.toThrow('the connection was closed');
});

test('what came before the end can still be read after it', async () => {
  const { inlet, writer } = await inletPair();
  writer.end('abc');
  await sleep(20);
  expect(words(await inlet.read(3))).toBe('abc');
});

test('nobody there is an error of the first read', async () => {
  const inlet = new Inlet('127.0.0.1', await freePort());
  await expect(inlet.read(1)).rejects.toThrow('ECONNREFUSED');
});

test('a handshake that does not end is cut off at 4096 bytes', async () => {
  const { inlet, writer } = await inletPair();
  const read = inlet.read(5000);
  writer.write(pattern(4096));
  await expect(read).rejects.toThrow('its handshake does not end');
});

// ## The stream

test('each view is filled to its last byte, and then the next is asked for', async () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(lengths, fc.integer({ min: 1, max: 50_000 }), async (sides, count) => {
      const { inlet, writer } = await inletPair();
      const { given, next, filled } = views(sides);
      const bytes = pattern(count);
      inlet.stream(next);
      writer.end(bytes);
      await new Promise((resolve) => inlet.socket.once('close', resolve));
      same(Buffer.concat(given).subarray(0, count), bytes);
      const whole = Buffer.concat(filled()).length;
      expect(whole).toBeLessThanOrEqual(count);
      expect(count - whole).toBeLessThan((given.at(-1) as Uint8Array).length);
    }),
    { numRuns: 10 },
  );
});

test('bytes that came with the end of the handshake belong to the stream', async () => {
  const { inlet, writer } = await inletPair();
  const bytes = pattern(3000);
  writer.write(Buffer.concat([text('hello'), bytes]));
  await sleep(20); // all of it lies in the inlet
  expect(words(await inlet.read(5))).toBe('hello');
  const { given, next } = views([1000, 7]);
  inlet.stream(next);
  writer.write(bytes);
  await until(() => Buffer.concat(given).length >= 6000);
  same(Buffer.concat(given).subarray(0, 6000), Buffer.concat([bytes, bytes]));
});

test('a paused inlet reads no more, until it is resumed', async () => {
  const { inlet, writer } = await inletPair();
  const { given, next } = views([1 << 16]);
  inlet.stream(next);
  inlet.pause();
  for (let i = 0; i < 32; i++) writer.write(new Uint8Array(1 << 20));
  await sleep(100);
  const read = given.length;
  expect(read).toBeLessThan(64); // some, since one read was under way
  expect(writer.writableLength).toBeGreaterThan(1 << 24);
  await sleep(100);
  expect(given.length).toBe(read);
  inlet.resume();
  await until(() => given.length > 32 * 16);
  expect(writer.writableLength).toBe(0);
});

// ## With frames

test('frames cut anywhere, down to single bytes, arrive whole', async () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 3000 }), { minLength: 1, maxLength: 6 });
  const cuts = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(sizes, cuts, fc.boolean(), async (lengths, pieces, early) => {
      const { connection, said, writer } = await connectionToTest();
      const payloads = lengths.map((length, i) => pattern(length, i));
      const bytes = Buffer.concat(payloads.map((payload, i) => call(i % 2, payload)));
      const ask = () => payloads.map((_, i) => connection.receive(lane(i % 2), 'x'));
      const asked = early ? [] : ask();
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const length = pieces[i % pieces.length] as number;
        writer.write(bytes.subarray(at, at + length));
        at += length;
        await new Promise(setImmediate); // a piece of its own for the reader, mostly
      }
      const got = await Promise.all(early ? ask() : asked);
      for (const [i, payload] of payloads.entries()) same(got[i] as Uint8Array, payload);
      expect(said).toEqual([]);
      writer.destroy();
    }),
    { numRuns: 15 },
  );
});

test('byte by byte', async () => {
  const { connection, writer } = await connectionToTest();
  const asked = [connection.receive(lane(1), 'x'), connection.receive(lane(2), 'x', new Uint8Array(40))];
  for (const byte of Buffer.concat([call(1, text('one')), call(2, pattern(40)), call(3, text('early'))])) {
    writer.write(Uint8Array.of(byte));
    await new Promise(setImmediate);
  }
  const [one, two] = (await Promise.all(asked)) as [Uint8Array, Uint8Array];
  expect(words(one)).toBe('one');
  same(two, pattern(40));
  expect(words(await connection.receive(lane(3), 'x'))).toBe('early');
});
