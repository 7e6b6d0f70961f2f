/** Folders: what their tensors' bytes become, and what isn't read. */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openSlices, type StoredTensor, writeSafetensors } from '@fourfold/checkpoint';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, expect, test } from 'vitest';
import { FORMAT_NOTE, openModelFolder } from '../src/folder.ts';
import { tensorShapes } from '../src/shape.ts';

const at = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'fourfold-folder-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const bytesOf = (folder: string, name: string): Uint8Array => {
  const file = openSlices(join(at(folder), 'model.safetensors'));
  const size = (file.tensors.get(name)?.shape ?? []).reduce((product, side) => product * side, 1);
  const data = file.read(name, 0, size);
  file.close();
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
};

test('bfloat16 and float32 come as the bytes that they are', () => {
  for (const [folder, format] of [
    ['qwen3', 'bf16'],
    ['mixtral', 'f32'],
  ] as const) {
    const model = openModelFolder(at(folder));
    const name = 'model.layers.1.self_attn.o_proj.weight';
    expect(model.tensors.get(name)).toMatchObject({ format, shape: [32, 48] });
    expect(model.read(name)).toEqual(bytesOf(folder, name));
    const size = format === 'bf16' ? 2 : 4;
    const row = model.read(name, { rows: [3, 4], columns: [8, 16] });
    expect(row).toEqual(bytesOf(folder, name).slice((3 * 48 + 8) * size, (3 * 48 + 16) * size));
    model.close();
  }
});

test('float16 comes as the float32 of the same number', () => {
  const model = openModelFolder(at('mistral'));
  const name = 'model.norm.weight';
  expect(model.tensors.get(name)?.format).toBe('f32');
  const halves = new Uint16Array(bytesOf('mistral', name).buffer);
  const values = new Float32Array(model.read(name).buffer);
  for (const [i, half] of halves.entries())
    expect(values[i]).toBe((1 + (half & 1023) / 1024) * 2 ** (((half >> 10) & 31) - 15)); // gains are about 1: normal
  model.close();
});

test('every tensor of the config is there, and the ids of a text’s ends', () => {
  for (const name of ['mistral', 'qwen3', 'mixtral', 'mixtral-fused', 'qwen3_moe', 'grok-1']) {
    const model = openModelFolder(at(name));
    expect([...model.tensors.keys()]).toEqual([...tensorShapes(model.shape).keys()]);
    if (name !== 'grok-1') expect(model.ends).toEqual({ begin: 1, end: 2 });
    model.close();
  }
});

/** qwen3's folder with one tensor replaced. */
async function changed(tensor: StoredTensor, metadata: Record<string, string>): Promise<string> {
  const folder = mkdtempSync(join(scratch, 'changed-'));
  copyFileSync(join(at('qwen3'), 'config.json'), join(folder, 'config.json'));
  const file = openSlices(join(at('qwen3'), 'model.safetensors'));
  const tensors = new Map<string, StoredTensor>();
  for (const [name, info] of file.tensors) {
    const size = info.shape.reduce((product, side) => product * side, 1);
    tensors.set(name, { ...info, data: file.read(name, 0, size) });
  }
  file.close();
  tensors.set('model.layers.0.mlp.up_proj.weight', tensor);
  await writeSafetensors(join(folder, 'model.safetensors'), tensors, metadata);
  return folder;
}
const blocks = (rowBytes: number): StoredTensor => ({
  ...{ dtype: 'U8', shape: [32, rowBytes], data: new Uint8Array(32 * rowBytes).map((_, i) => i) },
});

test('blocks are bytes, of the format that the file names', async () => {
  for (const [format, bytes] of [
    ['q40', 18],
    ['q80', 34],
  ] as const) {
    const model = openModelFolder(await changed(blocks(bytes), { [FORMAT_NOTE]: format }));
    const name = 'model.layers.0.mlp.up_proj.weight';
    expect(model.tensors.get(name)).toMatchObject({ format, shape: [32, 32] });
    expect(model.read(name, { rows: [5, 7] })).toEqual(blocks(bytes).data.slice(5 * bytes, 7 * bytes));
    model.close();
  }
});

test.each<[string, StoredTensor, Record<string, string>, string]>([
  ['blocks of no format', blocks(18), {}, 'is U8 in a file of format nothing: it takes q40 or q80'],
  ['blocks of another', blocks(20), { [FORMAT_NOTE]: 'q41' }, 'of format "q41"'],
  ['half a block', blocks(17), { [FORMAT_NOTE]: 'q40' }, 'not made of q40 blocks of 18 bytes'],
  ['too few blocks', blocks(0), { [FORMAT_NOTE]: 'q40' }, 'not made of q40 blocks'],
  ['whole numbers', { dtype: 'I32', shape: [32, 32], data: new Int32Array(1024) }, {}, 'is I32: weights are F32'],
])('%s are refused by the tensor’s name', async (_, tensor, metadata, says) => {
  const folder = await changed(tensor, metadata);
  expect(() => openModelFolder(folder)).toThrow(UserError);
  expect(() => openModelFolder(folder)).toThrow(says);
});

test('a folder that is none, or whose config is none', () => {
  expect(() => openModelFolder(scratch)).toThrow('has no config.json');
  const folder = join(scratch, 'list');
  mkdirSync(folder);
  writeFileSync(join(folder, 'config.json'), '[]');
  expect(() => openModelFolder(folder)).toThrow('it is no JSON object');
  const text = readFileSync(join(at('qwen3'), 'config.json'), 'utf8');
  writeFileSync(join(folder, 'config.json'), text.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'));
  copyFileSync(join(at('qwen3'), 'model.safetensors'), join(folder, 'model.safetensors'));
  expect(() => openModelFolder(folder)).toThrow('has no tensor "model.layers.2.input_layernorm.weight"');
});

test('what generation_config.json ends a text with counts beside config.json’s', () => {
  const folder = mkdtempSync(join(scratch, 'ends-'));
  for (const name of ['config.json', 'model.safetensors']) copyFileSync(join(at('qwen3'), name), join(folder, name));
  const own = openModelFolder(folder).ends;
  const path = join(folder, 'generation_config.json');
  writeFileSync(path, JSON.stringify({ eos_token_id: [own.end, 41, 40].flat() }));
  const { ends } = openModelFolder(folder);
  expect(ends).toEqual({ begin: own.begin, end: [own.end, 41, 40].flat() });
  writeFileSync(path, '{');
  expect(() => openModelFolder(folder)).toThrow(UserError);
});
