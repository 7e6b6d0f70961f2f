import { UserError } from '@fourfold/runtime/errors';
import { expect, test } from 'vitest';
import { configFrom, endsFrom, shapeFrom } from '../src/huggingface/config.ts';
import type { LlamaShape } from '../src/weights.ts';

const smollm = {
  model_type: 'llama',
  hidden_size: 576,
  intermediate_size: 1536,
  num_attention_heads: 9,
  num_hidden_layers: 30,
  num_key_value_heads: 3,
  vocab_size: 49152,
  rope_theta: 100000.0,
  tie_word_embeddings: true,
  torch_dtype: 'bfloat16',
};
const shape: LlamaShape = {
  ...{ layers: 30, dim: 576, heads: 9, kvHeads: 3, headDim: 64, ffn: 1536, vocabulary: 49152, theta: 100000 },
  ...{ normEpsilon: 1e-6, tied: true }, // 1e-6 is what transformers takes where a file doesn't say
};
const llama3 = { factor: 32, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
const scaled = { factor: 32, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192 };

test("transformers 4's keys", () => {
  expect(shapeFrom(smollm, 'c')).toEqual(shape);
  const scaling = { rope_scaling: { rope_type: 'llama3', ...llama3 } };
  expect(shapeFrom({ ...smollm, ...scaling }, 'c')).toEqual({ ...shape, ropeScaling: scaled });
  expect(shapeFrom({ ...smollm, rope_scaling: null }, 'c')).toEqual(shape);
  expect(shapeFrom({ ...smollm, rope_scaling: { type: 'llama3', ...llama3 } }, 'c').ropeScaling).toEqual(scaled);
});

test("transformers 5's keys", () => {
  const { rope_theta: _, ...rest } = smollm;
  const rope = { rope_theta: 100000.0, rope_type: 'default' };
  expect(shapeFrom({ ...rest, rope_parameters: rope }, 'c')).toEqual(shape);
  const scaling = { rope_parameters: { ...rope, rope_type: 'llama3', ...llama3 } };
  expect(shapeFrom({ ...rest, ...scaling }, 'c')).toEqual({ ...shape, ropeScaling: scaled });
});

test('heads of another width, epsilon, no kv heads and no theta', () => {
  const { num_key_value_heads: _, rope_theta: __, ...rest } = smollm;
  const found = shapeFrom({ ...rest, head_dim: 32, rms_norm_eps: 1e-5 }, 'c');
  expect(found).toEqual({ ...shape, headDim: 32, normEpsilon: 1e-5, kvHeads: 9, theta: 10000 });
});

test.each([
  [{ model_type: 'mistral' }, 'c: model_type="mistral" is not what this can load: it takes "llama"'],
  [{ attention_bias: true }, 'c: attention_bias=true is not what this can load: it takes false or nothing'],
  [{ hidden_act: 'gelu' }, 'c: hidden_act="gelu" is not what this can load: it takes "silu" or nothing'],
  [{ hidden_size: -1 }, 'c: hidden_size=-1 is not what this can load: it takes a whole number from 1 to 1048576'],
  [{ num_hidden_layers: 1e12 }, 'c: num_hidden_layers=1000000000000 is not what this can load'],
  [{ vocab_size: '7' }, 'c: vocab_size="7" is not what this can load'],
  [{ num_attention_heads: 7 }, 'c: head_dim=nothing is not what this can load'],
  [{ rms_norm_eps: 0 }, 'c: rms_norm_eps=0 is not what this can load'],
  [{ rope_theta: 'x' }, 'c: rope_theta="x" is no number above 0'],
  [{ rope_scaling: { type: 'yarn', factor: 4 } }, 'c: rope_scaling of type "yarn" is not supported: llama3 is'],
  [{ rope_scaling: { rope_type: 'llama3' } }, 'c: rope_scaling.factor=nothing is no number above 0'],
  [{ rope_scaling: 5 }, 'c: rope_scaling=5 is no JSON object'],
  [{ quantization_config: { bits: 4 } }, 'c: quantization_config={...} is not what this can load'],
  [{ tie_word_embeddings: 1 }, 'c: tie_word_embeddings=1 is not what this can load'],
])('%j is refused', (change, sentence) => {
  const read = () => shapeFrom({ ...smollm, ...change }, 'c');
  expect(read).toThrow(UserError);
  expect(read).toThrow(sentence);
});

test('what is no object is refused', () => {
  for (const json of [null, [], 'x', 7]) expect(() => shapeFrom(json, 'c')).toThrow(UserError);
});

test('what is written reads as the same shape, in the keys of both versions', () => {
  for (const each of [shape, { ...shape, ropeScaling: scaled, headDim: 96, tied: false, normEpsilon: 3e-5 }]) {
    const notes = { dtype: 'bfloat16', maxPositions: 2048, ends: { begin: 1, end: [2, 3] } } as const;
    const config = configFrom(each, notes);
    const { rope_theta: _, rope_scaling: __, ...five } = config;
    const { rope_parameters: ___, ...four } = config;
    for (const version of [config, five, four]) expect(shapeFrom(version, 'c')).toEqual(each);
    expect(config).toMatchObject({ dtype: 'bfloat16', torch_dtype: 'bfloat16', max_position_embeddings: 2048 });
    expect(endsFrom(config)).toEqual(notes.ends);
  }
});

test('ids that are none are left away', () => {
  expect(endsFrom({ bos_token_id: 'x', eos_token_id: [1, -1] })).toEqual({ begin: undefined, end: undefined });
});
