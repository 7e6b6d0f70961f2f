/** A GGUF file's settings under the names of a config.json. */
import { UserError } from '@fourfold/runtime/errors';
import { expect, test } from 'vitest';
import { architectureOf, endsIn, settingsAsConfig } from '../src/gguf/config.ts';
import type { GgufTensor } from '../src/gguf/file.ts';

function fileOf(settings: Record<string, unknown>, tensors: Record<string, number[]> = {}) {
  const listed = Object.entries(tensors).map(([name, shape]) => [name, { shape } as unknown as GgufTensor] as const);
  return { path: 'a.gguf', settings: new Map(Object.entries(settings)), tensors: new Map(listed) };
}

test('settings begin with the architecture; what is not said is undefined', () => {
  const file = fileOf({
    ...{ 'general.architecture': 'qwen3', 'qwen3.block_count': 28, 'llama.block_count': 5 },
    ...{ 'qwen3.attention.layer_norm_rms_epsilon': Math.fround(1e-6), 'qwen3.rope.dimension_count': 64 },
  });
  expect(architectureOf(file)).toBe('qwen3');
  const { num_hidden_layers, rms_norm_eps, head_dim, num_experts } = settingsAsConfig(file);
  expect({ num_hidden_layers, rms_norm_eps, head_dim, num_experts }).toEqual({
    ...{ num_hidden_layers: 28, rms_norm_eps: 1e-6, head_dim: 64, num_experts: undefined },
  });
});

test('an epsilon that no short number stands for is kept', () => {
  const settings = { 'general.architecture': 'llama', 'llama.attention.layer_norm_rms_epsilon': 0.1234567890123 };
  expect(settingsAsConfig(fileOf(settings))['rms_norm_eps']).toBe(0.1234567890123);
});

test('the vocabulary is as long as the embedding, which is the output too where there is none', () => {
  const settings = { 'general.architecture': 'llama' };
  const tied = settingsAsConfig(fileOf(settings, { 'token_embd.weight': [300, 64] }));
  expect([tied['vocab_size'], tied['tie_word_embeddings']]).toEqual([300, true]);
  expect(settingsAsConfig(fileOf(settings, { 'output.weight': [300, 64] }))['tie_word_embeddings']).toBe(false);
});

test('RoPE scaling is refused', () => {
  const scaled = fileOf({ 'general.architecture': 'llama', 'llama.rope.scaling.type': 'yarn' });
  const factors = fileOf({ 'general.architecture': 'llama' }, { 'rope_freqs.weight': [32] });
  for (const file of [scaled, factors])
    expect(() => settingsAsConfig(file)).toThrow(
      new UserError("a.gguf has RoPE scaling, which GGUF keeps in part: load the model's Hugging Face folder"),
    );
});

test('where texts begin and end', () => {
  const ends = { 'tokenizer.ggml.bos_token_id': 1, 'tokenizer.ggml.eos_token_id': 2 };
  expect(endsIn(fileOf(ends))).toEqual({ begin: 1, end: 2 });
  expect(endsIn(fileOf({}))).toEqual({});
});
