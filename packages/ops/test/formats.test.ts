/** Blocks of 32 numbers against what ggml's own Python package made of them (tools/fixtures/quants.py), to the bit. */
import { readFileSync } from 'node:fs';
import { onBackends } from '@fourfold/runtime/testing';
import { expect, test } from 'vitest';
import { dequantize, quantize, rowBytes, type WeightFormat } from '../src/index.ts';
import { floatToHalf, halfToFloat } from '../src/quantized/formats.ts';
import { FORMATS } from './quantized.ts';

interface Fixture {
  readonly rows: string;
  readonly blocks: Record<WeightFormat, string>;
  readonly values: Record<WeightFormat, string>;
}
const fixture = JSON.parse(readFileSync(new URL('fixtures/quants.json', import.meta.url), 'utf8')) as Fixture;
const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));
const floatsOf = (text: string): Float32Array => new Float32Array(bytesOf(text).buffer as ArrayBuffer);

onBackends(() => {
  test.each(FORMATS)('%s: blocks are those of ggml', (format) => {
    expect(Buffer.from(quantize(format, floatsOf(fixture.rows))).toString('base64')).toBe(fixture.blocks[format]);
  });

  test.each(FORMATS)('%s: numbers are those of ggml', (format) => {
    expect(dequantize(format, bytesOf(fixture.blocks[format]))).toEqual(floatsOf(fixture.values[format]));
  });

  test('numbers that are no whole blocks are refused', () => {
    expect(() => quantize('q40', new Float32Array(33))).toThrow('33 numbers are not a multiple of 32');
    expect(() => dequantize('q80', new Uint8Array(33))).toThrow('are not a multiple of 32');
  });
});

test('every float16 there is comes back as itself, and a row of q40 takes 4.5 bits a number', () => {
  for (let bits = 0; bits < 65536; bits++) {
    const value = halfToFloat(bits);
    if (!Number.isNaN(value)) expect(floatToHalf(value)).toBe(bits);
  }
  expect(halfToFloat(floatToHalf(Number.NaN))).toBeNaN();
  expect(rowBytes('q40', 4096)).toBe((4096 * 4.5) / 8);
});
