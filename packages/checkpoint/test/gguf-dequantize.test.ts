import { expect, test } from 'vitest';
import { dequantize, FORMATS } from '../src/gguf/dequantize.ts';

// That every format has the bits of ggml's own code, gguf-llama.test.ts shows on a whole file; here are blocks by hand.

const formatOf = (name: string) => {
  const format = [...FORMATS.values()].find((each) => each.name === name);
  if (!format) throw new Error(name);
  return format;
};
const half = { one: [0, 0x3c], minusTwo: [0, 0xc0], quarter: [0, 0x34] }; // little-endian

test('plain numbers', () => {
  expect([...dequantize(formatOf('F32'), new Uint8Array(Float32Array.of(1.5, -0.1).buffer))]).toEqual([
    1.5,
    Math.fround(-0.1),
  ]);
  expect([...dequantize(formatOf('F16'), Uint8Array.of(...half.one, ...half.minusTwo))]).toEqual([1, -2]);
  expect([...dequantize(formatOf('BF16'), Uint8Array.of(0x80, 0x3f, 0x49, 0x40))]).toEqual([1, 3.140625]);
});

test('Q8_0: d · q, q of either sign', () => {
  const block = Uint8Array.of(...half.quarter, ...Array.from({ length: 32 }, (_, i) => 8 * i - 128));
  expect([...dequantize(formatOf('Q8_0'), block)]).toEqual(Array.from({ length: 32 }, (_, i) => (8 * i - 128) / 4));
});

const bytes = Array.from({ length: 16 }, (_, i) => i | ((15 - i) << 4)); // lower halves rise, upper ones fall
const q = Array.from({ length: 32 }, (_, i) => (i < 16 ? i : 31 - i));

test('Q4_0: d · (q - 8), the lower halves of all bytes first', () => {
  expect([...dequantize(formatOf('Q4_0'), Uint8Array.of(...half.one, ...bytes))]).toEqual(q.map((each) => each - 8));
});

test('Q4_1: d · q + m', () => {
  const block = Uint8Array.of(...half.quarter, ...half.minusTwo, ...bytes);
  expect([...dequantize(formatOf('Q4_1'), block)]).toEqual(q.map((each) => each / 4 - 2));
});

test('Q6_K: four bits here, two there, a scale for every 16', () => {
  const block = new Uint8Array(210);
  block[64 + 3] = 0x5a; // the second half's lower four bits of weights 3 (a) and 67 (5) of 128
  block[128 + 32 + 3] = 0b00_11_00_01; // and their upper two: 01, and 11 of run 2
  block.fill(1, 192, 208);
  block[192 + 8] = 0xfe; // -2, for weights 128 to 143
  block.set(half.one, 208);
  const weights = dequantize(formatOf('Q6_K'), block);
  expect(weights[0]).toBe(-32);
  expect(weights[128 + 3]).toBe(-2 * ((0x1a as number) - 32));
  expect(weights[128 + 64 + 3]).toBe(0x35 - 32);
});

test('blocks lie behind one another', () => {
  const block = Uint8Array.of(...half.one, ...bytes);
  expect([...dequantize(formatOf('Q4_0'), Uint8Array.of(...block, ...block))]).toEqual(
    [...q, ...q].map((each) => each - 8),
  );
});
