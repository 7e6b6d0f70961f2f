import { expect, test } from 'vitest';
import { z } from 'zod';
import { jsonSchemaOf, nearest, parseValue, settingsOf, takes, wanted } from '../src/settings.ts';
import { schema } from './example.ts';

test('a schema tells its settings in order, with defaults and groups', () => {
  const settings = settingsOf(schema);
  expect([...settings.keys()].slice(0, 3)).toEqual(['model', 'seqLength', 'tp']);
  expect(settings.get('learningRate')).toMatchObject({
    default: 0.001,
    description: 'Peak step size.',
    group: 'Training',
  });
});

test.each([
  [z.int().min(1), 'a whole number of at least 1'],
  [z.int(), 'a whole number'],
  [z.int().min(0).max(8), 'a whole number from 0 to 8'],
  [z.int().min(8).multipleOf(8), 'a whole number divisible by 8 of at least 8'],
  [z.number().positive().max(1), 'a number above 0 and of at most 1'],
  [z.number().min(0).lt(1), 'a number of at least 0 and below 1'],
  [z.enum(['a', 'b']), 'one of a, b'],
  [z.literal(1), '1'],
  [z.boolean(), 'true or false'],
  [z.string(), 'text'],
  [z.array(z.string()), 'text, or several with commas between'],
  [z.union([z.literal('auto'), z.int().min(1)]), 'auto or a whole number of at least 1'],
])('values that would do are said in words: %#', (kind, words) => {
  expect(wanted(settingsOf(z.object({ kind })).get('kind') ?? {})).toBe(words);
});

test('a text is read as the kind that the setting takes', () => {
  const read = (text: string, kind: z.ZodType): unknown =>
    parseValue(text, settingsOf(z.object({ kind })).get('kind') ?? {});
  expect(read('3e6', z.number())).toBe(3_000_000);
  expect(read('1e-3', z.number())).toBe(0.001);
  expect(read('-2', z.int())).toBe(-2);
  expect(read('12', z.string())).toBe('12');
  expect(read('', z.number())).toBe('');
  expect(read('12px', z.number())).toBe('12px');
  expect(read('1e999', z.number())).toBe('1e999');
  expect(read('false', z.boolean())).toBe(false);
  expect(read('false', z.string())).toBe('false');
  expect(read('a.txt,b.txt', z.array(z.string()))).toEqual(['a.txt', 'b.txt']);
  expect(read('1,2', z.array(z.int()))).toEqual([1, 2]);
  expect(read('', z.array(z.string()))).toEqual([]);
  expect(read('auto', z.union([z.literal('auto'), z.int()]))).toBe('auto');
  expect(read('4', z.union([z.literal('auto'), z.int()]))).toBe(4);
});

test('whole numbers are numbers, and a union takes what its members take', () => {
  expect(takes({ type: 'integer' }, 'number')).toBe(true);
  expect(takes({ type: 'string' }, 'number')).toBe(false);
  expect(takes({ anyOf: [{ type: 'string' }, { type: 'boolean' }] }, 'boolean')).toBe(true);
});

test.each([
  ['seqLenght', 'seqLength'],
  ['seqlength', 'seqLength'],
  ['stpes', 'steps'],
  ['step', 'steps'],
  ['tpp', 'tp'],
  ['banana', undefined],
])('the nearest of the known keys to %s is %s', (key, expected) => {
  expect(nearest(key, ['steps', 'seqLength', 'tp'])).toBe(expected);
});

test('the JSON schema requires nothing, allows "$schema" and nothing unknown', () => {
  const json = jsonSchemaOf(schema);
  expect(json).toMatchObject({ type: 'object', additionalProperties: false });
  expect(json).not.toHaveProperty('required');
  expect(json).toHaveProperty(
    'properties',
    expect.objectContaining({
      $schema: { type: 'string' },
      seqLength: expect.objectContaining({ type: 'integer', minimum: 1, default: 128 }),
      model: expect.objectContaining({ enum: ['tiny', 'SmolLM-135M'] }),
    }),
  );
});
