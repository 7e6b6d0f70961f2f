/** Tensors under other names and in one another, and files that don't fit their config. */
import { UserError } from '@fourfold/runtime/errors';
import { expect, test } from 'vitest';
import { type ModelShape, tensorShapes } from '../src/shape.ts';
import { floatsOf } from '../src/stored.ts';
import { type Source, spellHuggingFace, tensorsThrough } from '../src/views.ts';
import { TINY, TINY_EXPERTS } from './tiny.ts';

/** A tensor of a file, whose element number i is i. */
const counting = (shape: readonly number[]): Source => ({
  ...{ format: 'f32', shape },
  read: (from, to) => new Uint8Array(Float32Array.from({ length: to - from }, (_, i) => from + i).buffer),
});
const fileOf = (shape: ModelShape): Map<string, Source> =>
  new Map([...tensorShapes(shape)].map(([name, sides]) => [name, counting(sides)]));
const through = (file: ReadonlyMap<string, Source>, shape: ModelShape) =>
  tensorsThrough('file', file, shape, spellHuggingFace);

test('an expert of a tensor of all is its rows: gate above up, expert after expert', () => {
  const file = fileOf(TINY_EXPERTS);
  for (const name of [...file.keys()]) if (name.includes('.experts.')) file.delete(name);
  for (const layer of [0, 1]) {
    file.set(`model.layers.${layer}.mlp.experts.gate_up_proj`, counting([4, 256, 64]));
    file.set(`model.layers.${layer}.mlp.experts.down_proj`, counting([4, 64, 128]));
  }
  const { read, tensors } = through(file, TINY_EXPERTS);
  const first = (part: string, rows?: [number, number]) =>
    floatsOf('f32', read(`model.layers.0.mlp.experts.2.${part}.weight`, rows ? { rows } : {}))[0];
  expect(first('gate_proj')).toBe(2 * 256 * 64);
  expect(first('up_proj')).toBe((2 * 256 + 128) * 64);
  expect(first('up_proj', [5, 6])).toBe((2 * 256 + 128 + 5) * 64);
  expect(first('down_proj')).toBe(2 * 64 * 128);
  expect(tensors.get('model.layers.1.mlp.experts.3.down_proj.weight')?.shape).toEqual([64, 128]);
});

test("Mixtral's own names are found", () => {
  const shape: ModelShape = { ...TINY, architecture: 'mixtral', experts: { count: 2, active: 1, normalized: true } };
  const renamed = [...fileOf(shape)].map(([name, source]) => {
    const theirs = name
      .replace('mlp.gate.', 'block_sparse_moe.gate.')
      .replace(/mlp\.(experts\.\d+)/, 'block_sparse_moe.$1')
      .replace(/(?<=experts.*)gate_proj/, 'w1')
      .replace(/(?<=experts.*)up_proj/, 'w3')
      .replace(/(?<=experts.*)down_proj/, 'w2');
    return [theirs, source] as const;
  });
  expect(through(new Map(renamed), shape).tensors.size).toBe(tensorShapes(shape).size);
});

test('what a tied model or an old file holds beside is left alone', () => {
  const file = fileOf(TINY);
  file.set('lm_head.weight', counting([50, 64]));
  file.set('model.layers.0.self_attn.rotary_emb.inv_freq', counting([16]));
  expect(through(file, TINY).tensors.has('lm_head.weight')).toBe(false);
});

test.each<[string, (file: Map<string, Source>) => void, string]>([
  ['misses one', (file) => file.delete('model.norm.weight'), 'file has no tensor "model.norm.weight"'],
  ['has other sides', (file) => file.set('model.norm.weight', counting([65])), 'has shape [65]'],
  ['has one more', (file) => file.set('model.layers.2.bias', counting([3])), '"model.layers.2.bias", which no llama'],
])('a file that %s is refused', (_, change, says) => {
  const file = fileOf(TINY);
  change(file);
  expect(() => through(file, TINY)).toThrow(UserError);
  expect(() => through(file, TINY)).toThrow(says);
});
