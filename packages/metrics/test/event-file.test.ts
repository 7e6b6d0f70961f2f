import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { crc32c, openEvents, record, scalars, varint, version } from '../src/event-file.ts';
import { openRunLog } from '../src/run-log.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-events-'));
afterAll(() => rmSync(folder, { recursive: true }));

const only = (path: string): string => join(path, readdirSync(path)[0] ?? '');

test('the bytes are those that the tensorboard package writes of the same figures', () => {
  const time = 1764311111250;
  const ours = [
    version(time),
    scalars(time, 1, { loss: 5.5488, gradNorm: 1.5, learningRate: 3e-3 }),
    scalars(time, 300, { loss: Number.NaN, tokensPerSecond: 41200, memoryBytes: 312e6, mfu: 0.413 }),
  ];
  // Written by tools/fixtures/tensorboard_events.py.
  const theirs = readFileSync(new URL('fixtures/events.tfevents', import.meta.url));
  expect(Buffer.concat(ours.map(record)).equals(theirs)).toBe(true);
});

test('checksums are CRC-32C', () => {
  // The examples of RFC 3720, B.4, and the usual check value.
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(255))).toBe(0x62a8ab43);
  expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
});

test('a varint is read back as the number that it was', () => {
  const read = (digits: Buffer): bigint =>
    [...digits].reduceRight((value, digit) => value * 128n + BigInt(digit % 128), 0n);
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      const digits = varint(value);
      expect(read(digits)).toBe(BigInt(value));
      expect([...digits].map((digit) => digit >= 128)).toEqual([...digits].map((_, i) => i < digits.length - 1));
    }),
  );
});

test('an event is in the file as soon as it is written, and numbers alone are scalars', () => {
  const path = join(folder, 'new', 'run');
  const events = openEvents(path);
  const size = () => readFileSync(only(path)).length;
  const begun = size();
  events.write({ step: 1, loss: 2, note: 'text', done: true, mfu: undefined });
  // 16 around it, 9 the time, 2 the step, 2 + 2 lengths, 6 the tag and 5 the number
  expect(size()).toBe(begun + 16 + 9 + 2 + 2 + 2 + 6 + 5);
  events.close();
  expect(only(path)).toMatch(/events\.out\.tfevents\.\d{10}\./);
});

test("a run's log writes steps and validations there", () => {
  const tensorboard = join(folder, 'log');
  const log = openRunLog({ title: '', steps: 1, tensorboard, screen: { write: () => true } });
  log.step({
    ...{ step: 1, loss: 5, gradNorm: 1, learningRate: 1 },
    tokensPerSecond: 1,
    milliseconds: 1,
    memoryBytes: 1,
  });
  log.validation({ step: 1, loss: 2.4, bitsPerByte: 3.46 });
  log.close();
  const text = readFileSync(only(tensorboard), 'latin1');
  const tags = ['loss', 'gradNorm', 'learningRate', 'tokensPerSecond', 'milliseconds', 'memoryBytes'];
  for (const tag of [...tags, 'validationLoss', 'bitsPerByte']) expect(text).toContain(tag);
});

test('a folder that can not be is one sentence', () => {
  const file = join(folder, 'file');
  writeFileSync(file, '');
  expect(() => openEvents(join(file, 'run'))).toThrow(UserError);
  expect(() => openEvents(join(file, 'run'))).toThrow(/^--tensorboard .*\/file\/run can't be written \(ENOTDIR/);
});
