import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Parameter } from '@fourfold/ops';
import { createMesh, spmd } from '@fourfold/process-group';
import { memory, openBackend, UserError } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ExportedModel, exportModel, exportPretrained, exportRanks } from '../src/huggingface/export.ts';
import { openFolder } from '../src/huggingface/folder.ts';
import { openPretrained } from '../src/pretrained.ts';

beforeAll(() => openBackend({ device: 'wasm' }));
const at = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const temporary = mkdtempSync(join(tmpdir(), 'fourfold-export-'));
afterAll(() => rmSync(temporary, { recursive: true }));
const out = (name: string) => join(temporary, name);
/** A folder's files by name. */
const filesIn = (folder: string) =>
  new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name)).toString('latin1')]));

/** Exports what is at a path. */
async function exported(from: string, name: string, options: Parameters<typeof exportPretrained>[2] = {}) {
  const model = await openPretrained(from);
  await exportPretrained(out(name), model, options);
  model.weights.close();
  return out(name);
}

test.each(['folder', 'tiny.gguf'])(
  '%s out, in and out again: equal bytes, and the numbers that went in',
  async (name) => {
    const once = await exported(at(name), `${name}-once`);
    const twice = await exported(once, `${name}-twice`);
    expect(filesIn(twice)).toEqual(filesIn(once));
    const [source, copy] = [await openPretrained(at(name)), openFolder(once)];
    expect(copy.shape).toEqual(source.shape);
    expect([copy.maxPositions, copy.ends]).toEqual([source.maxPositions, source.ends]);
    expect([...copy.weights.tensors.keys()].sort()).toEqual([...source.weights.tensors.keys()].sort());
    for (const tensor of source.weights.tensors.keys())
      expect(copy.weights.read(tensor)).toEqual(source.weights.read(tensor));
    source.weights.close();
    copy.weights.close();
  },
);

test("the vocabulary's files go along", async () => {
  const folder = await exported(at('tiny.gguf'), 'vocabulary');
  const names = [
    'config.json',
    'generation_config.json',
    'model.safetensors',
    'tokenizer.json',
    'tokenizer_config.json',
  ];
  expect(readdirSync(folder).sort()).toEqual(names);
});

test('above a size it is several files and an index, whose tensors are the same', async () => {
  const [one, many] = [
    await exported(at('tiny.gguf'), 'one'),
    await exported(at('tiny.gguf'), 'many', { fileBytes: 80_000 }),
  ];
  const parts = readdirSync(many).filter((name) => /^model-0000\d-of-0000\d\.safetensors$/.test(name));
  expect(parts.length).toBeGreaterThan(3);
  for (const name of parts) expect(statSync(join(many, name)).size).toBeLessThan(80_000 + 2_000); // and a header
  const [whole, split] = [openFolder(one), openFolder(many)];
  expect([...split.weights.tensors.keys()].sort()).toEqual([...whole.weights.tensors.keys()].sort());
  for (const tensor of whole.weights.tensors.keys())
    expect(split.weights.read(tensor)).toEqual(whole.weights.read(tensor));
  const { metadata } = JSON.parse(readFileSync(join(many, 'model.safetensors.index.json'), 'utf8'));
  const numbers = [...whole.weights.tensors.values()].reduce(
    (sum, { shape }) => sum + shape.reduce((a, b) => a * b),
    0,
  );
  expect(metadata.total_size).toBe(4 * numbers);
  whole.weights.close();
  split.weights.close();
});

test('in bfloat16 each number is the nearest there is, and the config says so', async () => {
  const folder = await exported(at('folder'), 'bfloat16', { dtype: 'BF16' });
  const [source, copy] = [openFolder(at('folder')), openFolder(folder)];
  for (const [tensor, { dtype }] of copy.weights.tensors) {
    expect(dtype).toBe('BF16');
    const [wide, narrow] = [source.weights.read(tensor), copy.weights.read(tensor)];
    for (const [i, value] of wide.entries())
      expect(Math.abs((narrow[i] as number) - value)).toBeLessThanOrEqual(Math.abs(value) * 2 ** -8);
  }
  expect(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')).dtype).toBe('bfloat16');
  source.weights.close();
  copy.weights.close();
});

test('what ranks hold, cut along tp and pp, is exported whole by the first, and no tensor stays', async () => {
  const { shape, weights, ...rest } = openFolder(at('folder'));
  const shapes = new Map([...weights.tensors].map(([name, info]) => [name, info.shape]));
  const before = memory().tensors;
  const said: string[] = [];
  const plan = { ...rest, folder: out('ranks'), dtype: 'F32', shape, maxPositions: 512 } as const;
  await spmd(4, async (world) => {
    const mesh = await createMesh(world, { dp: 1, pp: 2, cp: 1, tp: 2 });
    const mine = [...shapes].filter(([name]) => name.includes('layers.1') === (mesh.pp.rank === 1));
    const parameters = mine.map(([name, fullShape]) => {
      const parameter = new Parameter(name, fullShape);
      if (fullShape.length === 2 && name.includes('mlp')) parameter.shard = { axis: 1, index: mesh.tp.rank, of: 2 };
      parameter.value = tf.tensor(weights.read(name, parameter.shard), [...parameter.shape]);
      return parameter;
    });
    await exportRanks(plan, shapes, { parameters, mesh }, (line) => said.push(line));
    for (const parameter of parameters) parameter.dispose();
  });
  weights.close();
  expect(memory().tensors).toBe(before);
  expect(said).toEqual([`${out('ranks')}: the model as transformers loads it, 21 tensors, float32`]);
  const straight = await exported(at('folder'), 'straight');
  expect(filesIn(out('ranks'))).toEqual(filesIn(straight));
});

const model = (values: () => Promise<Float32Array<ArrayBuffer>>): ExportedModel => ({
  shape: openFolder(at('folder')).shape,
  tensors: new Map([['model.norm.weight', { shape: [16], dtype: 'F32', values }]]),
  ...{ maxPositions: 8, ends: {}, tokenizerFiles: new Map() },
});

test('a folder with something in it is left alone, an empty one is taken', async () => {
  mkdirSync(out('full'));
  writeFileSync(join(out('full'), 'mine'), '');
  const numbers = async () => new Float32Array(16);
  await expect(exportModel(out('full'), model(numbers))).rejects.toThrow(
    new UserError(`export=${out('full')} is there already, with files in it: name a new folder`),
  );
  await expect(exportModel(join(out('full'), 'mine'), model(numbers))).rejects.toThrow('is no folder: name a new one');
  mkdirSync(out('empty'));
  await exportModel(out('empty'), model(numbers));
  expect(existsSync(join(out('empty'), 'config.json'))).toBe(true);
  await expect(exportModel(join(out('full'), 'mine', 'deeper'), model(numbers))).rejects.toThrow(UserError);
});

test('what fails midway leaves nothing', async () => {
  const before = readdirSync(temporary);
  const failing = async () => {
    throw new UserError('the source is gone');
  };
  await expect(exportModel(out('half'), model(failing))).rejects.toThrow('the source is gone');
  expect(readdirSync(temporary)).toEqual(before);
  cpSync(at('folder'), out('source'), { recursive: true }); // the same for a source that ends too early
  const source = openFolder(out('source'));
  writeFileSync(join(out('source'), 'model-00003-of-00004.safetensors'), 'short');
  await expect(exportPretrained(out('half'), source)).rejects.toThrow(UserError);
  source.weights.close();
  expect(existsSync(out('half'))).toBe(false);
});
