import { afterEach, expect, test, vi } from 'vitest';
import { exitWith, messageOf, RunError, UserError } from '../src/errors.ts';

afterEach(() => vi.restoreAllMocks());

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

test.each([
  [new UserError('tp=3 does not divide 8 heads'), 2, 'tp=3 does not divide 8 heads'],
  [new RunError('rank 1 died'), 1, 'rank 1 died'],
])('a command ends with a sentence: %s', (error, code, sentence) => {
  const exit = vi.spyOn(process, 'exit').mockImplementation((() => undefined) as never);
  const print = vi.spyOn(console, 'error').mockImplementation(() => {});
  exitWith(error);
  expect(exit).toHaveBeenCalledWith(code);
  expect(print).toHaveBeenCalledWith(sentence);
});

test('a command that has a defect shows where', () => {
  const exit = vi.spyOn(process, 'exit').mockImplementation((() => undefined) as never);
  const print = vi.spyOn(console, 'error').mockImplementation(() => {});
  const defect = new TypeError('x is not a function');
  exitWith(defect);
  expect(exit).toHaveBeenCalledWith(1);
  expect(print).toHaveBeenCalledWith(defect);
});
