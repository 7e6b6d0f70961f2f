import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { lineOf, MAX_LINE, type Message, messages } from '../src/tcp/json-lines.ts';

/** The messages that arrive when `bytes` come in pieces of `size`. */
async function arriving(bytes: Buffer, size: number): Promise<Message[]> {
  const stream = new PassThrough();
  for (let i = 0; i < bytes.length; i += size) stream.write(bytes.subarray(i, i + size));
  stream.end();
  const all: Message[] = [];
  for await (const message of messages(stream as unknown as Socket)) all.push(message);
  return all;
}

const message = fc.record(
  { id: fc.nat(), key: fc.string({ unit: 'binary' }), value: fc.string(), owner: fc.nat() },
  { requiredKeys: ['id'] },
);

test('messages arrive as they were sent, however the network cuts them', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(message), fc.integer({ min: 1, max: 50 }), async (sent, size) => {
      const plain = sent.map((one) => ({ ...one })); // fast-check's records have no prototype
      expect(await arriving(Buffer.from(plain.map(lineOf).join('')), size)).toEqual(plain);
    }),
  );
});

test('a line has at most 65536 characters, on the way out and in', async () => {
  const room = MAX_LINE - lineOf({ id: 1, value: '' }).length + 1; // the newline doesn't count
  const full = { id: 1, value: 'x'.repeat(room) };
  expect(await arriving(Buffer.from(lineOf(full)), 1e6)).toEqual([full]);
  expect(() => lineOf({ id: 1, value: 'x'.repeat(room + 1) })).toThrow('65537 characters does not fit');
  const long = Buffer.alloc(MAX_LINE + 1, 'x');
  await expect(arriving(long, 1000)).rejects.toThrow('a line of more than 65536 characters');
  await expect(arriving(Buffer.concat([long, Buffer.from('\n')]), 1e6)).rejects.toThrow('a line of 65537 characters');
});

test.each(['x', '', 'null', '3', '[]', '{}', '{"id":"1"}', '{"id":1,"key":2}', '{"id":1,"owner":"me"}', '{"id":1.5}'])(
  'no message: %s',
  async (line) => {
    await expect(arriving(Buffer.from(`${line}\n`), 100)).rejects.toThrow();
  },
);
