import { HelpWanted } from '@fourfold/cli';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { readWords } from '../src/words.ts';

const schema = z.object({ time: z.string().default('60').describe('the limit'), hold: z.boolean().default(false) });
const read = (...argv: string[]) =>
  readWords({ name: 'npx fourfold x', words: 'DIR...', usage: 'Does x.', schema, argv });

test('words come before settings', () => {
  expect(read('a b', 'c', '--hold', '--time', '5')).toEqual({
    words: ['a b', 'c'],
    settings: { time: '5', hold: true },
  });
  expect(read('a')).toEqual({ words: ['a'], settings: { time: '60', hold: false } });
});

test('no word, and a word among the settings, are sentences', () => {
  expect(() => read()).toThrow('npx fourfold x says no DIR...: use npx fourfold x DIR...');
  expect(() => read('--hold')).toThrow('npx fourfold x says no DIR...');
  expect(() => read('a', '--time', '5', 'b')).toThrow('b is not a setting: write --key value');
});

test('help needs no word', () => {
  expect(() => read('--help')).toThrow(HelpWanted);
  expect(() => read('--help')).toThrow(/^npx fourfold x DIR\.\.\. \[--config FILE\].*--time +60 +the limit\./s);
});
