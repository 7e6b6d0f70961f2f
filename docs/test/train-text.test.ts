import { expect, test } from 'vitest';
import { tokensOf } from '../src/train/text.ts';

test('bytes are tokens; the last tenth is to validate on', () => {
  const { train, validation, largestId } = tokensOf('abcdefghij');
  expect([train.part, train.count, train.bytes]).toEqual(['train', 9, 9]);
  expect([...train.read(7, 2), ...validation.read(0, 1)]).toEqual([104, 105, 106]);
  expect(largestId).toBe(106);
});

test('what was read may be changed, and what is not there is refused', () => {
  const { train } = tokensOf('abcdefghij');
  train.read(0, 2).fill(0);
  expect([...train.read(0, 2)]).toEqual([97, 98]);
  expect(() => train.read(8, 2)).toThrow(new RangeError('train has 9 tokens, not 8 to 10'));
  expect(() => train.read(-1, 2)).toThrow(RangeError);
});
