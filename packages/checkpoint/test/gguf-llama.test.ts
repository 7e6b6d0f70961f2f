import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, expect, test } from 'vitest';
import { nameOf, openLlamaGguf } from '../src/gguf/llama.ts';

const at = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const reference: { weights: Record<string, string> } = JSON.parse(readFileSync(at('tiny-reference.json'), 'utf8'));
const folder = mkdtempSync(join(tmpdir(), 'fourfold-llama-'));
afterAll(() => rmSync(folder, { recursive: true }));

test("the shape, with an epsilon that isn't a float32's", async () => {
  const { shape, maxPositions, ends, weights } = await openLlamaGguf(at('tiny.gguf'));
  expect(shape).toEqual({
    ...{ layers: 1, dim: 64, heads: 4, kvHeads: 2, headDim: 16, ffn: 256, vocabulary: 268 },
    ...{ theta: 20000, normEpsilon: 1e-5, tied: true },
  });
  expect([maxPositions, ends]).toEqual([128, { begin: 0, end: 0 }]);
  weights.close();
});

test("every weight of every format has the bits that gguf's own code and transformers give", async () => {
  const { weights } = await openLlamaGguf(at('tiny.gguf'));
  const sums = [...weights.tensors.keys()].map((name) => {
    const values = weights.read(name);
    return [name, createHash('sha256').update(new Uint8Array(values.buffer)).digest('hex')];
  });
  expect(Object.fromEntries(sums)).toEqual(reference.weights);
  weights.close();
});

test("a rank's heads of q and k, its rows and its columns are those of the whole", async () => {
  const { weights } = await openLlamaGguf(at('tiny.gguf'));
  for (const [name, { shape }] of weights.tensors) {
    const [rows = 0, columns = 1] = shape;
    const whole = [...weights.read(name)];
    for (const index of [0, 1]) {
      const half = whole.slice((index * whole.length) / 2, ((index + 1) * whole.length) / 2);
      if (rows % 2 === 0) expect([...weights.read(name, { axis: 0, index, of: 2 })]).toEqual(half);
      if (shape.length < 2) continue;
      for (const of of [2, 4, 16]) {
        const part = columns / of; // of 16: cut amid blocks
        const cut = whole.filter((_, i) => Math.floor((i % columns) / part) === index);
        expect([...weights.read(name, { axis: 1, index, of })]).toEqual(cut);
      }
    }
  }
  weights.close();
});

test('names', () => {
  expect(nameOf('blk.12.ffn_norm.weight')).toBe('model.layers.12.post_attention_layernorm.weight');
  expect(nameOf('output.weight')).toBe('lm_head.weight');
  expect(nameOf('blk.0.attn_q.bias')).toBe('blk.0.attn_q.bias');
});

test('another architecture and scaled RoPE are refused', async () => {
  const bytes = readFileSync(at('tiny.gguf'));
  const open = (name: string, from: string, to: string) => {
    const copy = Buffer.from(bytes);
    copy.write(to, copy.indexOf(from));
    writeFileSync(join(folder, name), copy);
    return openLlamaGguf(join(folder, name));
  };
  const gemma = open('gemma.gguf', 'llama', 'gemma');
  await expect(gemma).rejects.toThrow(
    new UserError(`${join(folder, 'gemma.gguf')} is a model of kind "gemma", and no llama`),
  );
  const scaled = open('scaled.gguf', 'token_embd.weight', 'rope_freqs.weight');
  await expect(scaled).rejects.toThrow(
    "has RoPE scaling, which GGUF keeps in part: load the model's Hugging Face folder",
  );
});
