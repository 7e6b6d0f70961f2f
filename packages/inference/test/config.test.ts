/** config.json of published models, and of what isn't computed here. */
import { UserError } from '@fourfold/runtime/errors';
import { expect, test } from 'vitest';
import { isOurs, modelShapeFrom } from '../src/config.ts';

const read = (json: object) => modelShapeFrom({ ...json }, 'config.json');

/** Qwen3-0.6B's, as Qwen published it. */
const QWEN3 = {
  ...{ architectures: ['Qwen3ForCausalLM'], attention_bias: false, attention_dropout: 0.0, bos_token_id: 151643 },
  ...{ eos_token_id: 151645, head_dim: 128, hidden_act: 'silu', hidden_size: 1024, initializer_range: 0.02 },
  ...{ intermediate_size: 3072, max_position_embeddings: 40960, max_window_layers: 28, model_type: 'qwen3' },
  ...{ num_attention_heads: 16, num_hidden_layers: 28, num_key_value_heads: 8, rms_norm_eps: 1e-6 },
  ...{ rope_scaling: null, rope_theta: 1000000, sliding_window: null, tie_word_embeddings: true },
  ...{ torch_dtype: 'bfloat16', transformers_version: '4.51.0', use_cache: true, use_sliding_window: false },
  vocab_size: 151936,
};
const QWEN3_SHAPE = {
  ...{ architecture: 'qwen3', layers: 28, dim: 1024, heads: 16, kvHeads: 8, headDim: 128, ffn: 3072 },
  ...{ vocabulary: 151936, theta: 1e6, normEpsilon: 1e-6, tied: true, qkNorm: true, maxPositions: 40960 },
};
/** Mistral-7B-v0.1's. */
const MISTRAL = {
  ...{ model_type: 'mistral', hidden_act: 'silu', hidden_size: 4096, intermediate_size: 14336 },
  ...{ max_position_embeddings: 32768, num_attention_heads: 32, num_hidden_layers: 32, num_key_value_heads: 8 },
  ...{ rms_norm_eps: 1e-5, rope_theta: 10000.0, sliding_window: 4096, tie_word_embeddings: false, vocab_size: 32000 },
};
/** Mixtral-8x7B-v0.1's. */
const MIXTRAL = {
  ...{ ...MISTRAL, model_type: 'mixtral', num_experts_per_tok: 2, num_local_experts: 8, rope_theta: 1000000.0 },
  ...{ output_router_logits: false, router_aux_loss_coef: 0.02, sliding_window: null },
};
/** Qwen3-30B-A3B's. */
const QWEN3_MOE = {
  ...{ ...QWEN3, model_type: 'qwen3_moe', decoder_sparse_step: 1, hidden_size: 2048, intermediate_size: 6144 },
  ...{ mlp_only_layers: [], moe_intermediate_size: 768, norm_topk_prob: true, num_experts: 128 },
  ...{ num_experts_per_tok: 8, num_attention_heads: 32, num_hidden_layers: 48, num_key_value_heads: 4 },
  tie_word_embeddings: false,
};
const GROK = {
  ...{ model_type: 'grok-1', attn_output_multiplier: 0.08838834764831845, hidden_size: 6144, intermediate_size: 32768 },
  ...{ embedding_multiplier_scale: 78.38367176906169, max_attn_value: 30.0, max_position_embeddings: 8192 },
  ...{ num_attention_heads: 48, num_experts: 8, num_experts_per_tok: 2, num_hidden_layers: 64 },
  ...{ num_key_value_heads: 8, output_multiplier_scale: 0.5773502691896257, rms_norm_eps: 1e-5 },
  ...{ tie_word_embeddings: true, vocab_size: 131072 },
};

test('Qwen3: heads wider than dim / heads, each normalized', () => {
  expect(read(QWEN3)).toEqual(QWEN3_SHAPE);
});

test('transformers 5 spells RoPE otherwise, and names the kinds of attention', () => {
  const { rope_theta, rope_scaling, ...rest } = QWEN3;
  const rope = { rope_parameters: { rope_type: 'default', rope_theta }, layer_types: Array(28).fill('full_attention') };
  expect(read({ ...rest, ...rope })).toEqual(QWEN3_SHAPE);
});

test('Mistral looks back on a window', () => {
  expect(read(MISTRAL)).toMatchObject({ architecture: 'mistral', window: 4096, headDim: 128, qkNorm: false });
  expect(read({ ...MISTRAL, sliding_window: null })).not.toHaveProperty('window');
});

test('Mixtral normalizes the weights of its two experts; Qwen3-MoE where it says so', () => {
  expect(read(MIXTRAL)).toMatchObject({ ffn: 14336, experts: { count: 8, active: 2, normalized: true } });
  expect(read(QWEN3_MOE)).toMatchObject({
    ffn: 768,
    qkNorm: true,
    experts: { count: 128, active: 8, normalized: true },
  });
  expect(read({ ...QWEN3_MOE, norm_topk_prob: false }).experts?.normalized).toBe(false);
  const { num_experts, ...spelled } = { ...QWEN3_MOE, num_local_experts: 128 };
  expect(read(spelled)).toEqual(read(QWEN3_MOE));
});

test('Grok-1 is the shape that comes ready made', async () => {
  const { GROK_1 } = await import('../src/shape.ts');
  expect(read(GROK)).toEqual(GROK_1);
});

test.each<[string, object, string]>([
  ['another model', { ...QWEN3, model_type: 'gemma' }, 'model_type="gemma"'],
  ['no type', { ...QWEN3, model_type: undefined }, 'model_type=nothing'],
  ['biases', { ...QWEN3, attention_bias: true }, 'attention_bias=true'],
  ['windows in some layers', { ...QWEN3, use_sliding_window: true }, 'use_sliding_window=true'],
  ['layers of two kinds', { ...QWEN3, layer_types: ['full_attention', 'sliding_attention'] }, 'layer_types=[...]'],
  ['another preset for heads', { ...MISTRAL, num_key_value_heads: undefined }, 'num_key_value_heads=nothing'],
  ['another preset for widths', { ...QWEN3, head_dim: undefined }, 'head_dim=nothing'],
  ['some dense layers', { ...QWEN3_MOE, mlp_only_layers: [0] }, 'mlp_only_layers=[...]'],
  ['every second layer', { ...QWEN3_MOE, decoder_sparse_step: 2 }, 'decoder_sparse_step=2'],
  ['too many active', { ...MIXTRAL, num_experts_per_tok: 9 }, 'num_experts_per_tok=9'],
  ['no experts', { ...MIXTRAL, num_local_experts: 0 }, 'num_local_experts=0'],
  ['a window of none', { ...MISTRAL, sliding_window: 0 }, 'sliding_window=0'],
  ['no positions', { ...MISTRAL, max_position_embeddings: undefined }, 'max_position_embeddings=nothing'],
  ['another scale of scores', { ...GROK, attn_output_multiplier: 0.1 }, 'attn_output_multiplier=0.1'],
  ['a multiplier elsewhere', { ...QWEN3, attn_output_multiplier: 0.1 }, 'attn_output_multiplier=0.1'],
  ['others’ blocks', { ...QWEN3, quantization_config: { quant_method: 'gptq' } }, 'quantization_config={...}'],
  ['a shape without layers', { ...QWEN3, num_hidden_layers: 0 }, 'num_hidden_layers=0'],
])('%s is refused by name', (_, json, says) => {
  expect(() => read(json)).toThrow(UserError);
  expect(() => read(json)).toThrow(says);
});

test('blocks of our own are no reason to refuse', () => {
  const blocks = { quantization_config: { quant_method: 'fourfold', format: 'q40' } };
  expect(read({ ...QWEN3, ...blocks })).toEqual(QWEN3_SHAPE);
  expect([isOurs(blocks.quantization_config), isOurs({ quant_method: 'awq' }), isOurs(undefined)]).toEqual([
    true,
    false,
    false,
  ]);
});
