/**
 * What a GGUF file says of a model, under Hugging Face's names: its settings as a config.json, its tensors' names.
 *
 * The names: https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py
 */
import { UserError } from '@fourfold/runtime/errors';
import { endsFrom } from '../huggingface/config.ts';
import type { TextEnds } from '../weights.ts';
import type { GgufFile } from './file.ts';

/** The lists at a file's beginning. */
export type Lists = Pick<GgufFile, 'path' | 'settings' | 'tensors'>;

/** What the file's kind of model is called in it, such as "llama" or "qwen3": its settings begin with that. */
export const architectureOf = ({ settings }: Lists): string => String(settings.get('general.architecture'));

/**
 * The settings as those of a config.json, but for model_type, which the caller knows. What the file doesn't say is
 * undefined; nothing is checked.
 *
 * @throws UserError where the file has RoPE scaling
 */
export function settingsAsConfig(file: Lists): Record<string, unknown> {
  const { path, settings, tensors } = file;
  const of = (key: string) => settings.get(`${architectureOf(file)}.${key}`);
  if (tensors.has('rope_freqs.weight') || (of('rope.scaling.type') ?? 'none') !== 'none')
    throw new UserError(`${path} has RoPE scaling, which GGUF keeps in part: load the model's Hugging Face folder`);
  const epsilon = of('attention.layer_norm_rms_epsilon');
  return {
    num_hidden_layers: of('block_count'),
    hidden_size: of('embedding_length'),
    intermediate_size: of('feed_forward_length') ?? of('expert_feed_forward_length'),
    num_attention_heads: of('attention.head_count'),
    num_key_value_heads: of('attention.head_count_kv'),
    head_dim: of('attention.key_length') ?? of('rope.dimension_count'),
    vocab_size: of('vocab_size') ?? tensors.get('token_embd.weight')?.shape[0],
    max_position_embeddings: of('context_length'),
    rope_theta: of('rope.freq_base'),
    rms_norm_eps: typeof epsilon === 'number' ? shortest(epsilon) : epsilon,
    tie_word_embeddings: !tensors.has('output.weight'),
    num_experts: of('expert_count'),
    num_experts_per_tok: of('expert_used_count'),
    moe_intermediate_size: of('expert_feed_forward_length'),
  };
}

/** What a float32 in the file stands for: 1e-5 and not 9.99999974e-6, where that rounds to the same float32. */
function shortest(single: number): number {
  const short = Number(single.toPrecision(7));
  return Math.fround(short) === single ? short : single;
}

/** The tokens at which texts begin and end, as far as the file says. */
export function endsIn({ settings }: Lists): TextEnds {
  const [bos, eos] = ['bos', 'eos'].map((which) => settings.get(`tokenizer.ggml.${which}_token_id`));
  return endsFrom({ bos_token_id: bos, eos_token_id: eos });
}

/** Hugging Face's name of a layer's or the model's part, and GGUF's. */
export const GGUF_NAMES: Readonly<Record<string, string>> = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  post_attention_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  'mlp.gate': 'ffn_gate_inp',
};
