import { expect, test } from 'vitest';
import { messageOf, UserError } from '../src/errors.ts';

test('a UserError is told from a defect by its class and its name', () => {
  const error = new UserError('steps=0 is too small: use 1 or more');
  expect(error).toBeInstanceOf(UserError);
  expect(error).toBeInstanceOf(Error);
  expect(String(error)).toBe('UserError: steps=0 is too small: use 1 or more');
  expect(new Error('a defect')).not.toBeInstanceOf(UserError);
});

test.each([
  [new UserError('tp=3 does not divide 8 heads'), 'tp=3 does not divide 8 heads'],
  [new TypeError('x is not a function'), 'x is not a function'],
  ['a word', 'a word'],
  [42, '42'],
  [undefined, 'undefined'],
])('whatever was thrown, there are words for it: %s', (thrown, words) => {
  expect(messageOf(thrown)).toBe(words);
});
