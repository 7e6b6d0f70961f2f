/** Defaults and refusals of what a model is opened with. */
import { UserError } from '@fourfold/runtime/errors';
import { useBackend } from '@fourfold/runtime/testing';
import { beforeAll, expect, test } from 'vitest';
import { chooseOptions, inBlocks, loadRank, type ModelOptions, matrixFormats } from '../src/load.ts';
import { ALONE } from '../src/ranks.ts';
import { tinyModel } from './tiny.ts';

beforeAll(() => useBackend('cpu'));

test('by default a sequence as long as the model allows, and integers where all matrices are in blocks', () => {
  const chosen = { slots: 1, maxSeqLength: 32, maxRows: 256, kvCache: 'f32', weights: undefined };
  expect(chooseOptions(tinyModel())).toEqual({ ...chosen, activations: 'float32' });
  expect(chooseOptions(tinyModel(undefined, 'q41'))).toEqual({ ...chosen, activations: 'q80' });
  expect(chooseOptions(tinyModel(), { weights: 'q40' })).toEqual({ ...chosen, weights: 'q40', activations: 'q80' });
  expect(chooseOptions(tinyModel(undefined, 'q80'), { activations: 'float32' }).activations).toBe('float32');
});

test('formats are those that matrices are held in; norms are no matrices', () => {
  expect([...matrixFormats(tinyModel(undefined, 'q80'))]).toEqual(['q80']);
  expect([...matrixFormats(tinyModel(undefined, 'q80'), 'bf16')]).toEqual(['bf16']);
  expect([inBlocks(tinyModel()), inBlocks(tinyModel(), 'q40')]).toEqual([false, true]);
});

test.each<[ModelOptions, string]>([
  [{ slots: 0 }, 'slots=0'],
  [{ maxRows: 1.5 }, 'maxRows=1.5'],
  [{ maxSeqLength: 33 }, 'maxSeqLength=33: it takes a whole number from 1 to 32'],
])('%o is refused by name', (options, says) => {
  expect(() => chooseOptions(tinyModel(), options)).toThrow(UserError);
  expect(() => chooseOptions(tinyModel(), options)).toThrow(says);
});

test('a rank past those that can share the model is refused before anything is read', () => {
  const reads = { bytes: 0, largest: 0 };
  const model = tinyModel(undefined, 'q80', reads);
  expect(() => loadRank(model, chooseOptions(model), { ...ALONE, size: 5 })).toThrow('use 1 to 4');
  expect(reads.bytes).toBe(0);
});
