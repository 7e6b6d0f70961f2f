import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, expect, test } from 'vitest';
import { fromFloat32 } from '../src/floats.ts';
import { openFolder } from '../src/huggingface/folder.ts';
import { openSafetensors, type StoredTensor, writeSafetensors } from '../src/safetensors.ts';

const fixture = fileURLToPath(new URL('fixtures/folder', import.meta.url));
const temporary = mkdtempSync(join(tmpdir(), 'fourfold-folder-'));
afterAll(() => rmSync(temporary, { recursive: true }));
const INDEX = 'model.safetensors.index.json';

/** A copy of the fixture, changed. */
function changed(name: string, change: (folder: string) => void): string {
  const folder = join(temporary, name);
  cpSync(fixture, folder, { recursive: true });
  change(folder);
  return folder;
}
const edit = (path: string, change: (text: string) => string) =>
  writeFileSync(path, change(readFileSync(path, 'utf8')));

/** All tensors of the fixture's four files, by another reader. */
async function everything(): Promise<Map<string, StoredTensor & { data: Float32Array<ArrayBuffer> }>> {
  const all = new Map();
  for (const i of [1, 2, 3, 4]) {
    const file = await openSafetensors(join(fixture, `model-0000${i}-of-00004.safetensors`));
    for (const name of file.names) all.set(name, { ...file.info(name), data: await file.read(name) });
    await file.close();
  }
  return all;
}

test('what transformers saved: shape, tensors of all files, and their numbers', async () => {
  const { shape, weights, maxPositions, ends, tokenizerFiles } = openFolder(fixture);
  expect(shape).toMatchObject({ layers: 2, dim: 16, heads: 4, kvHeads: 2, headDim: 8, ffn: 40, vocabulary: 61 });
  expect(shape.ropeScaling).toMatchObject({ factor: 8, originalMaxPositions: 64 });
  expect([maxPositions, ends, tokenizerFiles.size]).toEqual([512, { begin: 1, end: [2, 3] }, 0]);
  const all = await everything();
  expect(weights.tensors.size).toBe(all.size);
  for (const [name, { shape, data }] of all) {
    expect(weights.tensors.get(name)?.shape).toEqual(shape);
    expect(weights.read(name)).toEqual(data);
  }
  weights.close();
});

test("a rank's rows and columns", async () => {
  const { weights } = openFolder(fixture);
  const name = 'model.layers.1.mlp.down_proj.weight'; // [16, 40]
  const whole = [...weights.read(name)];
  expect([...weights.read(name, { axis: 0, index: 1, of: 4 })]).toEqual(whole.slice(160, 320));
  const columns = whole.filter((_, i) => i % 40 >= 20);
  expect([...weights.read(name, { axis: 1, index: 1, of: 2 })]).toEqual(columns);
  weights.close();
});

test.each(['F16', 'BF16'] as const)('one file in %s reads as its numbers in float32', async (dtype) => {
  const all = await everything();
  const folder = changed(dtype, (folder) => rmSync(join(folder, INDEX)));
  const narrow = new Map([...all].map(([name, { data }]) => [name, fromFloat32(dtype, data)] as const));
  const stored = new Map([...narrow].map(([name, data]) => [name, { dtype, shape: all.get(name)?.shape ?? [], data }]));
  await writeSafetensors(join(folder, 'model.safetensors'), stored);
  const { weights } = openFolder(folder);
  for (const [name, bits] of narrow) expect(fromFloat32(dtype, weights.read(name))).toEqual(bits);
  const name = 'model.norm.weight'; // around 1: off by at most half of the last of 8 bits
  for (const [i, value] of weights.read(name).entries())
    expect(Math.abs(value / (all.get(name)?.data[i] ?? 0) - 1)).toBeLessThanOrEqual(2 ** -8);
  weights.close();
});

test.each([
  ['no-config', (folder: string) => rmSync(join(folder, 'config.json')), 'has no config.json'],
  ['no-weights', (folder: string) => rmSync(join(folder, INDEX)), 'has neither model.safetensors nor'],
  ['no-part', (folder: string) => rmSync(join(folder, 'model-00002-of-00004.safetensors')), "can't be read"],
  [
    'escape',
    (folder: string) =>
      edit(join(folder, INDEX), (text) => text.replace('model-00001-of-00004.safetensors', '../../etc/passwd')),
    'is in "../../etc/passwd": that is no file beside it',
  ],
  [
    'absolute',
    (folder: string) =>
      edit(join(folder, INDEX), (text) => text.replace('model-00001-of-00004.safetensors', '/tmp/x.safetensors')),
    'that is no file beside it',
  ],
  [
    'swapped',
    (folder: string) => edit(join(folder, INDEX), (text) => text.replace('-00001-of', '-00002-of')),
    'and its index says "model-00002-of-00004.safetensors"',
  ],
  [
    'invented',
    (folder: string) =>
      edit(join(folder, INDEX), (text) =>
        text.replace('"weight_map": {', '"weight_map": {"new": "model-00001-of-00004.safetensors",'),
      ),
    '"new" is not in the file that its index names',
  ],
  ['no-map', (folder: string) => writeFileSync(join(folder, INDEX), 'null'), 'has no weight_map'],
  [
    'bin',
    (folder: string) => edit(join(folder, INDEX), (text) => text.replaceAll('.safetensors', '.bin')),
    'that is no file beside it',
  ],
] as const)('%s is refused', (name, change, sentence) => {
  const folder = changed(name, change);
  expect(() => openFolder(folder)).toThrow(UserError);
  expect(() => openFolder(folder)).toThrow(sentence);
});

test('whole numbers are no weights, the embedding twice and old frequencies are passed over', async () => {
  const folder = changed('old', (folder) => {
    rmSync(join(folder, INDEX));
    edit(join(folder, 'config.json'), (text) =>
      text.replace('"tie_word_embeddings": false', '"tie_word_embeddings": true'),
    );
  });
  const all = new Map<string, StoredTensor>(await everything());
  const frequencies = 'model.layers.0.self_attn.rotary_emb.inv_freq';
  all.set(frequencies, { dtype: 'F32', shape: [4], data: new Float32Array(4) });
  await writeSafetensors(join(folder, 'model.safetensors'), all);
  const { weights } = openFolder(folder);
  expect(weights.tensors.has(frequencies)).toBe(false);
  expect(weights.tensors.has('lm_head.weight')).toBe(false);
  expect(weights.tensors.size).toBe(all.size - 2);
  weights.close();
  all.set('model.norm.weight', { dtype: 'I32', shape: [16], data: new Int32Array(16) });
  await writeSafetensors(join(folder, 'model.safetensors'), all);
  expect(() => openFolder(folder)).toThrow('"model.norm.weight" is I32: weights are F32, F16, BF16');
});
