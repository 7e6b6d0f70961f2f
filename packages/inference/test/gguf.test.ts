/** GGUF files: their shapes, their blocks as they are, and rows in Hugging Face's order. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openGguf } from '@fourfold/checkpoint';
import { UserError } from '@fourfold/runtime/errors';
import { useBackend } from '@fourfold/runtime/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openModelFolder } from '../src/folder.ts';
import { openModelGguf, rowInFile } from '../src/gguf.ts';
import { floatsOf, type StoredTensor } from '../src/stored.ts';

const at = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'fourfold-gguf-'));
beforeAll(() => useBackend('cpu'));
afterAll(() => rmSync(scratch, { recursive: true }));

const NAMES = ['qwen3', 'mixtral', 'qwen3_moe'];

test.each(NAMES)('%s has the shape of the folder that it was made from', async (name) => {
  const [file, folder] = [await openModelGguf(at(`${name}.gguf`)), openModelFolder(at(name))];
  expect(file.shape).toEqual(folder.shape);
  expect([...file.tensors.keys()]).toEqual([...folder.tensors.keys()]);
  expect(file.ends).toEqual(folder.ends);
  file.close();
  folder.close();
});

test.each(NAMES)('%s: weights are the folder’s, to the rounding of their blocks, row by row', async (name) => {
  const [file, folder] = [await openModelGguf(at(`${name}.gguf`)), openModelFolder(at(name))];
  for (const [tensor, { format }] of file.tensors) {
    const ours = floatsOf(format, file.read(tensor));
    const theirs = floatsOf((folder.tensors.get(tensor) as StoredTensor).format, folder.read(tensor));
    const off = ours.reduce((most, value, i) => Math.max(most, Math.abs(value - (theirs[i] as number))), 0);
    // Weights are up to 1.2: a step of 4 bits is a sixteenth of a block's range. A row in a wrong place is 1 off.
    expect(off, tensor).toBeLessThan(0.2);
  }
  file.close();
  folder.close();
});

test('blocks come as the file has them; of a llama’s q and k whole rows move', async () => {
  const [model, file] = [await openModelGguf(at('mixtral.gguf')), await openGguf(at('mixtral.gguf'))];
  const row = (name: string, number: number) => file.readBlocks(name, number * 32, (number + 1) * 32);
  expect(model.tensors.get('model.layers.0.self_attn.q_proj.weight')?.format).toBe('q40');
  for (const [ours, theirs] of [
    [0, 0],
    [4, 1],
    [1, 2],
    [7, 7],
    [12, 9],
  ] as const)
    expect(model.read('model.layers.0.self_attn.q_proj.weight', { rows: [ours, ours + 1] })).toEqual(
      row('blk.0.attn_q.weight', theirs),
    );
  const expert = model.read('model.layers.1.mlp.experts.2.up_proj.weight', { rows: [3, 4] });
  expect(expert).toEqual(row('blk.1.ffn_up_exps.weight', 2 * 32 + 3));
  expect(model.tensors.get('model.layers.1.mlp.experts.2.up_proj.weight')).toMatchObject({
    format: 'q41',
    shape: [32, 32],
  });
  model.close();
  file.close();
});

test('Qwen3’s rows are not moved', async () => {
  const [model, file] = [await openModelGguf(at('qwen3.gguf')), await openGguf(at('qwen3.gguf'))];
  expect(model.read('model.layers.0.self_attn.q_proj.weight')).toEqual(
    file.readBlocks('blk.0.attn_q.weight', 0, 48 * 32),
  );
  model.close();
  file.close();
});

test('rows of a head of six: 0, 2, 4, 1, 3, 5 of the file', () => {
  expect([0, 1, 2, 3, 4, 5].map((row) => rowInFile(row, 6))).toEqual([0, 2, 4, 1, 3, 5]);
  expect([6, 7, 8, 9, 10, 11].map((row) => rowInFile(row, 6))).toEqual([6, 8, 10, 7, 9, 11]);
});

test('Q6_K, whose blocks are of 256, is cut anywhere as float32', async () => {
  const path = fileURLToPath(new URL('../../checkpoint/test/fixtures/tiny.gguf', import.meta.url));
  const model = await openModelGguf(path);
  const name = 'model.layers.0.mlp.down_proj.weight';
  expect(model.tensors.get(name)).toMatchObject({ format: 'f32', shape: [64, 256] });
  const whole = floatsOf('f32', model.read(name));
  const part = floatsOf('f32', model.read(name, { rows: [1, 3], columns: [96, 160] }));
  expect([...part]).toEqual([...whole.slice(256 + 96, 256 + 160), ...whole.slice(512 + 96, 512 + 160)]);
  model.close();
});

test('another kind of model is refused by its name', async () => {
  const text = readFileSync(at('qwen3.gguf')).toString('latin1');
  const path = join(scratch, 'gemma.gguf');
  writeFileSync(path, Buffer.from(text.replaceAll('qwen3', 'gemma'), 'latin1'));
  await expect(openModelGguf(path)).rejects.toThrow(UserError);
  await expect(openModelGguf(path)).rejects.toThrow('is a model of kind "gemma": it takes llama, qwen3, qwen3moe');
});

test('a file without one of the tensors is refused by the tensor’s name', async () => {
  const text = readFileSync(at('qwen3.gguf')).toString('latin1');
  const path = join(scratch, 'renamed.gguf');
  writeFileSync(path, Buffer.from(text.replace('blk.1.attn_k_norm.weight', 'blk.1.attn_k_morn.weight'), 'latin1'));
  await expect(openModelGguf(path)).rejects.toThrow('no tensor "model.layers.1.self_attn.k_norm.weight"');
});
