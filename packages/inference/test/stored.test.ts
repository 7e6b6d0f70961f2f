/** Parts of tensors as bytes. */
import { useBackend } from '@fourfold/runtime/testing';
import { beforeAll, expect, test } from 'vitest';
import { BLOCKS, bytesFrom, bytesOf, floatsOf, lengthOf, readPart } from '../src/stored.ts';

beforeAll(() => useBackend('cpu'));

const FORMATS = ['f32', 'bf16', 'q40', 'q41', 'q80'] as const;
/** [3, 96], every number another one. */
const numbers = Float32Array.from({ length: 3 * 96 }, (_, i) => Math.sin(i) * (1 + i / 100));

test.each(FORMATS)('%s: bytes of a format are so many, and come back as they are', (format) => {
  const bytes = bytesFrom(format, numbers);
  expect(bytes.length).toBe(bytesOf(format, numbers.length));
  expect(bytes.length).toBe((numbers.length / BLOCKS[format].weights) * BLOCKS[format].bytes);
  const values = floatsOf(format, bytes);
  expect(bytesFrom(format, values)).toEqual(bytes);
  const largest = values.reduce((most, value, i) => Math.max(most, Math.abs(value - (numbers[i] as number))), 0);
  // A block's largest number is 3.9: 4 bits step by 3.9 / 8 and are half of it off, 8 bits by 3.9 / 127.
  expect(largest).toBeLessThan({ f32: 1e-9, bf16: 8e-3, q40: 0.5, q41: 0.3, q80: 0.016 }[format]);
});

test.each(FORMATS)('%s: rows and columns of a matrix are those of its numbers', (format) => {
  const bytes = bytesFrom(format, numbers);
  const all = floatsOf(format, bytes);
  const read = (from: number, to: number) => bytes.slice(bytesOf(format, from), bytesOf(format, to));
  const part = readPart({ format, shape: [3, 96] }, { rows: [1, 3], columns: [32, 96] }, read);
  expect([...floatsOf(format, part)]).toEqual([...all.slice(96 + 32, 192), ...all.slice(192 + 32, 288)]);
  const rows = readPart({ format, shape: [3, 96] }, { rows: [2, 3] }, read);
  expect([...floatsOf(format, rows)]).toEqual([...all.slice(192)]);
  const turned = readPart({ format, shape: [3, 96] }, {}, read, (row) => 2 - row);
  expect([...floatsOf(format, turned)]).toEqual([...all.slice(192), ...all.slice(96, 192), ...all.slice(0, 96)]);
});

test('a part of a whole width is one read, and an element of a vector a row', () => {
  const reads: number[][] = [];
  const read = (from: number, to: number) => {
    reads.push([from, to]);
    return new Uint8Array(4 * (to - from));
  };
  readPart({ format: 'f32', shape: [8, 10] }, { rows: [2, 5], columns: [0, 10] }, read);
  readPart({ format: 'f32', shape: [8] }, { rows: [2, 5] }, read);
  expect(reads).toEqual([
    [20, 50],
    [2, 5],
  ]);
});

test('bytes that begin amid a word of the memory are read all the same', () => {
  for (const format of ['f32', 'bf16'] as const) {
    const bytes = bytesFrom(format, numbers);
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    expect(floatsOf(format, shifted.subarray(1))).toEqual(floatsOf(format, bytes));
  }
});

test('a span is as long as it says', () => {
  expect(lengthOf([3, 7])).toBe(4);
});
