import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bytes } from '../src/byte-tokenizer.ts';

test("ids are the bytes of UTF-8, as Node's buffers have them", () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      expect([...bytes.encode(text)]).toEqual([...Buffer.from(text, 'utf8')]);
      expect(bytes.decode(bytes.encode(text))).toBe(text);
    }),
  );
});

test('a byte order mark is text like any other', () => {
  expect([...bytes.encode('\ufeffAhab')]).toEqual([0xef, 0xbb, 0xbf, 65, 104, 97, 98]);
  expect(bytes.decode([0xef, 0xbb, 0xbf, 65])).toBe('\ufeffA');
});

test('what is no UTF-8, and ids outside the vocabulary, show as U+FFFD', () => {
  expect(bytes.decode([0xc3, 65, 256, 65])).toBe('\ufffdA\ufffdA');
});
