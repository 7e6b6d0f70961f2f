/**
 * A run's figures as TensorBoard reads them: `pip install tensorboard`, `tensorboard --logdir DIR`.
 *
 *     events.out.tfevents.1764311111.host.4711.0       a record for each step
 *
 *     record   length of data, 8 bytes | its checksum, 4 | data | its checksum, 4               (TFRecord)
 *     data     Event   { wall_time = 1: double, step = 2: varint, file_version = 3 | summary = 5 }
 *              Summary { value = 1: Value ... }                                               (protocol buffers)
 *              Value   { tag = 1: text, simple_value = 2: float }
 *
 * A field of a protocol buffer is its number and kind in one byte, then its value; kinds are 0 varint (seven bits a
 * byte, the lowest first), 1 eight bytes, 2 a length and so many bytes, 5 four bytes. These two formats in the few
 * forms that are needed here are less than a library's set-up. The checksum is CRC-32C, turned and shifted so that a
 * checksum of data that hold checksums stays one.
 */
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import type { MetricsRecord } from './log.ts';

/** An open file of TensorBoard's. */
export interface EventFile {
  /** Writes the record's numbers under their names, as of its step; they are in the file when this returns. */
  write(record: MetricsRecord & { readonly step: number }): void;
  /** Closes the file. */
  close(): void;
}

/** Opens a new file in the folder, which is made if need be. Throws UserError where that can't be done. */
export function openEvents(folder: string): EventFile {
  const name = `events.out.tfevents.${Math.floor(Date.now() / 1000)}.${hostname()}.${process.pid}.0`;
  let file: number;
  try {
    mkdirSync(folder, { recursive: true });
    file = openSync(join(folder, name), 'w');
  } catch (error) {
    throw new UserError(`--tensorboard ${folder} can't be written (${messageOf(error)}): name a folder`);
  }
  writeSync(file, record(version(Date.now())));
  return {
    write({ step, ...figures }) {
      writeSync(file, record(scalars(Date.now(), step, figures)));
    },
    close() {
      closeSync(file);
    },
  };
}

/** An event with the record's numbers. NaN and infinities are numbers too. */
export function scalars(time: number, step: number, figures: MetricsRecord): Buffer {
  const values = Object.entries(figures).flatMap(([tag, value]) =>
    typeof value === 'number' ? [bytes(1, Buffer.concat([bytes(1, Buffer.from(tag)), float(2, value)]))] : [],
  );
  return event(time, step, bytes(5, Buffer.concat(values)));
}

/** The first record of a file. */
export const version = (time: number): Buffer => event(time, 0, bytes(3, Buffer.from('brain.Event:2')));

/** `time` in milliseconds since 1970. A step of 0 goes without saying, as every number that is 0. */
const event = (time: number, step: number, rest: Buffer): Buffer =>
  Buffer.concat([double(1, time / 1000), ...(step > 0 ? [key(2, 0), varint(step)] : []), rest]);

// ## Fields of a protocol buffer

const key = (field: number, kind: number): Buffer => Buffer.from([(field << 3) | kind]);

/** Of whole numbers up to 2^53. */
export function varint(value: number): Buffer {
  const digits: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) digits.push((rest % 128) + 128);
  return Buffer.from([...digits, rest]);
}

function double(field: number, value: number): Buffer {
  const data = Buffer.alloc(8);
  data.writeDoubleLE(value);
  return Buffer.concat([key(field, 1), data]);
}

function float(field: number, value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeFloatLE(value);
  return Buffer.concat([key(field, 5), data]);
}

const bytes = (field: number, data: Buffer): Buffer => Buffer.concat([key(field, 2), varint(data.length), data]);

// ## Records

/** A TFRecord: length, checksum of the length, data, checksum of the data. */
export function record(data: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, checksum(length), data, checksum(data)]);
}

function checksum(data: Buffer): Buffer {
  const crc = crc32c(data);
  const turned = ((crc >>> 15) | (crc << 17)) >>> 0;
  const masked = Buffer.alloc(4);
  masked.writeUInt32LE((turned + 0xa282ead8) % 2 ** 32);
  return masked;
}

/** Castagnoli's polynomial, its bits from the lowest: the remainder of each byte. */
const REMAINDERS = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ 0x82f63b78 : rest >>> 1;
  return rest;
});

/** CRC-32C, the checksum of TFRecords, from 0 to 2³² - 1. */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = (crc >>> 8) ^ (REMAINDERS[(crc ^ byte) & 255] as number);
  return (crc ^ 0xffffffff) >>> 0;
}
