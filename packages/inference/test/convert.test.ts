/** Folders in blocks: read back they are what quantizing the source gives. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openSafetensors } from '@fourfold/checkpoint';
import { quantize } from '@fourfold/ops';
import { UserError } from '@fourfold/runtime/errors';
import { useBackend } from '@fourfold/runtime/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { modelShapeFrom } from '../src/config.ts';
import { CONVERTED, configOf, convert } from '../src/convert.ts';
import { openModelFolder } from '../src/folder.ts';
import { GROK_1, type ModelShape } from '../src/shape.ts';
import { isMatrix } from '../src/slices.ts';
import { TINY, TINY_EXPERTS, tinyModel, valuesOf } from './tiny.ts';

const scratch = mkdtempSync(join(tmpdir(), 'fourfold-convert-'));
beforeAll(() => useBackend('cpu'));
afterAll(() => rmSync(scratch, { recursive: true }));

test.each(CONVERTED)('%s: matrices are the source’s, quantized, and the rest is float32', async (format) => {
  const folder = join(scratch, format);
  const source = { ...tinyModel(TINY_EXPERTS), tokenizerFiles: new Map([['tokenizer.json', '{"a":1}']]) };
  await convert(source, folder, format);
  expect(readdirSync(folder).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
  expect(readFileSync(join(folder, 'tokenizer.json'), 'utf8')).toBe('{"a":1}');
  const model = openModelFolder(folder);
  expect([model.shape, model.ends]).toEqual([TINY_EXPERTS, source.ends]);
  for (const [name, tensor] of model.tensors) {
    const values = valuesOf(source, name);
    expect(tensor.format).toBe(isMatrix(name) ? format : 'f32');
    expect(model.read(name), name).toEqual(isMatrix(name) ? quantize(format, values) : new Uint8Array(values.buffer));
  }
  model.close();
});

test('the file says its format, a matrix is bytes by rows, and the config a method that nobody else has', async () => {
  const folder = join(scratch, 'as-it-lies');
  await convert(tinyModel(), folder, 'q40');
  const file = await openSafetensors(join(folder, 'model.safetensors'));
  expect(file.metadata).toEqual({ 'fourfold.format': 'q40' });
  expect(file.info('model.layers.0.mlp.down_proj.weight')).toMatchObject({ dtype: 'U8', shape: [64, (128 / 32) * 18] });
  await file.close();
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  expect(config.quantization_config).toEqual({ quant_method: 'fourfold', format: 'q40' });
});

test('blocks that are in the format already keep their bytes, converted once or twice', async () => {
  const [source, folder, again] = [tinyModel(TINY, 'q80'), join(scratch, 'once'), join(scratch, 'twice')];
  await convert(source, folder, 'q80');
  const once = openModelFolder(folder);
  await convert(once, again, 'q80');
  const twice = openModelFolder(again);
  for (const name of source.tensors.keys()) expect(twice.read(name)).toEqual(source.read(name));
  once.close();
  twice.close();
});

test('one tensor is read at a time, and none twice', async () => {
  const reads = { bytes: 0, largest: 0 };
  const source = tinyModel(TINY, 'f32', reads);
  await convert(source, join(scratch, 'reads'), 'q40');
  const sizes = [...source.tensors.values()].map(({ shape }) => shape.reduce((product, side) => product * side, 4));
  expect(reads).toEqual({ bytes: sizes.reduce((a, b) => a + b), largest: Math.max(...sizes) });
});

test('odd rows, a folder that is there, a source that fails: nothing is left behind', async () => {
  const before = readdirSync(scratch);
  const qwen3 = openModelFolder(fileURLToPath(new URL('fixtures/qwen3', import.meta.url)));
  await expect(convert(qwen3, join(scratch, 'odd'), 'q40')).rejects.toThrow('rows of 48 weights, and q40 takes');
  qwen3.close();
  await expect(convert(tinyModel(), join(scratch, 'q40'), 'q40')).rejects.toThrow(UserError);
  const model = tinyModel();
  const broken: typeof model = {
    ...model,
    read: (name, part) => (name.includes('layers.1') ? fail() : model.read(name, part)),
  };
  const fail = (): never => {
    throw new Error('the disk is gone');
  };
  await expect(convert(broken, join(scratch, 'broken'), 'q40')).rejects.toThrow('the disk is gone');
  expect(readdirSync(scratch)).toEqual(before);
});

const SHAPES: ModelShape[] = [
  ...[TINY, TINY_EXPERTS, GROK_1],
  { ...TINY, architecture: 'mistral', window: 5 },
  { ...TINY, architecture: 'qwen3', qkNorm: true },
  { ...TINY, architecture: 'mixtral', experts: { count: 4, active: 2, normalized: true } },
  { ...TINY, ropeScaling: { factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192 } },
];

test.each(SHAPES)('a config of $architecture says the shape that it was written from', (shape) => {
  expect(modelShapeFrom(JSON.parse(JSON.stringify(configOf({ shape, ends: {} }))), 'config.json')).toEqual(shape);
});
