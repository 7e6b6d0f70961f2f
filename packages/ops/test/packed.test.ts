/** Packing: the rows that come out are those that went in, whatever the format; and what does not fit is refused. */
import { read } from '@fourfold/runtime';
import { expectNoLeak, onBackends } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { dequantize, packedRows, packWeight, rowBytes } from '../src/index.ts';
import { inBlocks } from '../src/quantized/formats.ts';
import { FORMATS, weightBytes } from './quantized.ts';

onBackends(() => {
  test.each(FORMATS)('rows of %s come back as they are', async (format) => {
    const [V, D] = [21, inBlocks(format) ? 64 : 50];
    const bytes = weightBytes(format, V * D);
    const padded = new Uint8Array(Math.ceil((V * D) / 32) * rowBytes(format, 32));
    padded.set(bytes);
    const expected = dequantize(format, padded);
    const ids = [20, 0, 7, 7, 16];
    const actual = await expectNoLeak(async () => {
      const [w, at] = [packWeight(format, V, D, bytes), tf.tensor1d(ids, 'int32')];
      const x = packedRows(w, at);
      const values = await read(x);
      w.dispose();
      tf.dispose([at, x]);
      return Array.from(values);
    });
    expect(actual).toEqual(ids.flatMap((id) => Array.from(expected.subarray(id * D, (id + 1) * D))));
  });

  test('what does not fit is refused in a sentence', () => {
    expect(() => packWeight('q40', 2, 48, new Uint8Array(54))).toThrow(
      'rows of 48 numbers are not whole blocks of 32, which q40 is made of',
    );
    expect(() => packWeight('q80', 2, 32, new Uint8Array(67))).toThrow(
      '67 bytes are not 1 x 2 x 32 numbers in q80, which take 68',
    );
  });
});
