/**
 * A model in a GGUF file, its weights as stored blocks, under Hugging Face's names and in Hugging Face's order.
 *
 *     general.architecture   is here       what llama.cpp's conversion did to it
 *     llama                  llama         rows of q and k are in the order of RoPE's pairs (below)
 *     llama, expert_count    mixtral       that too; experts of a layer lie in one tensor, [E, F, D]
 *     qwen3                  qwen3         rows as they were
 *     qwen3moe               qwen3_moe     rows as they were; experts in one tensor
 *
 * For a llama it put rows x0, xK/2, x1, xK/2+1, ... of a head beside one another. Reading puts them back; whole rows
 * move, so their blocks stay what they are:
 *
 *     row of the file    0     1     2     3     4     5         a head of K = 6
 *     row of ours        0    K/2    1   K/2+1   2   K/2+2
 *
 * Q6_K comes as float32, as F16 does: no kernel multiplies those.
 * The names: https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py
 */
// biome-ignore format: a list
import {
  dequantizeBlocks, endsFrom, type GgufFile, type GgufTensor, openGguf, shortest, show, tokenizerFilesFrom,
} from '@fourfold/checkpoint';
import type { WeightFormat } from '@fourfold/ops';
import { UserError } from '@fourfold/runtime/errors';
import { modelShapeFrom } from './config.ts';
import type { ModelShape } from './shape.ts';
import type { ReadBlocks, StoredModel } from './stored.ts';
import { type Source, type Spell, tensorsThrough, type View } from './views.ts';

/**
 * Opens a file; reads its lists alone.
 *
 * @throws UserError where it isn't sound, or no model of ours
 */
export async function openModelGguf(path: string): Promise<StoredModel> {
  const file = await openGguf(path);
  try {
    const shape = shapeIn(file);
    const sources = new Map([...file.tensors].map(([name, tensor]) => [name, sourceOf(file, name, tensor)]));
    const [bos, eos] = ['bos', 'eos'].map((which) => file.settings.get(`tokenizer.ggml.${which}_token_id`));
    return {
      ...{ path, shape, ...tensorsThrough(path, sources, shape, spellGguf) },
      tokenizerFiles: tokenizerFilesFrom(file),
      ends: endsFrom({ bos_token_id: bos, eos_token_id: eos }),
      close: file.close,
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

// ## The shape

const TYPES: Readonly<Record<string, ModelShape['architecture']>> = {
  llama: 'llama',
  qwen3: 'qwen3',
  qwen3moe: 'qwen3_moe',
};

/** By the file's settings: those of a config.json under other names, and checked as such. */
function shapeIn({ path, settings, tensors }: GgufFile): ModelShape {
  const prefix = String(settings.get('general.architecture'));
  const type = TYPES[prefix];
  if (!type)
    throw new UserError(`${path} is a model of kind ${show(prefix)}: it takes ${Object.keys(TYPES).join(', ')}`);
  const of = (key: string) => settings.get(`${prefix}.${key}`);
  if (tensors.has('rope_freqs.weight') || (of('rope.scaling.type') ?? 'none') !== 'none')
    throw new UserError(`${path} has RoPE scaling, which GGUF keeps in part: load the model's Hugging Face folder`);
  const hasExperts = Number(of('expert_count') ?? 0) > 0;
  const epsilon = of('attention.layer_norm_rms_epsilon');
  const json = {
    model_type: type === 'llama' && hasExperts ? 'mixtral' : type,
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
  };
  return modelShapeFrom({ ...json, ...(hasExperts ? expertSettings(of) : {}) }, path);
}

/** llama.cpp makes the weights of the chosen experts add up to one, in both of its models that have them. */
const expertSettings = (of: (key: string) => unknown) => ({
  num_experts: of('expert_count'),
  num_experts_per_tok: of('expert_used_count'),
  moe_intermediate_size: of('expert_feed_forward_length'),
  norm_topk_prob: true,
});

// ## Tensors

const NAMES: Readonly<Record<string, string>> = {
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

/** "model.layers.3.self_attn.q_proj.weight" to "blk.3.attn_q.weight", experts to rows of the tensor of all. */
export const spellGguf: Spell = (name, sides, shape) => {
  const [, layer, part = ''] = /^(?:model\.layers\.(\d+)\.)?(.+)\.weight$/.exec(name) ?? [];
  const before = layer === undefined ? '' : `blk.${layer}.`;
  const [, expert, which] = /^mlp\.experts\.(\d+)\.(gate|up|down)_proj$/.exec(part) ?? [];
  if (shape.experts && expert !== undefined) {
    const all = [shape.experts.count, ...sides];
    return [{ stored: `${before}ffn_${which}_exps.weight`, sides: all, firstRow: Number(expert) * Number(sides[0]) }];
  }
  return NAMES[part] ? [{ stored: `${before}${NAMES[part]}.weight`, sides, ...placeOf(part, shape) }] : [];
};

/** llama.cpp reorders what it calls llama, Mixtral too. */
function placeOf(part: string, { architecture, headDim }: ModelShape): Pick<View, 'firstRow' | 'placeOf'> {
  const isTurned = /self_attn\.[qk]_proj/.test(part) && ['llama', 'mixtral'].includes(architecture);
  return { firstRow: 0, placeOf: isTurned ? (row) => rowInFile(row, headDim) : undefined };
}

/** Where the file has a row of q or k. */
export function rowInFile(row: number, headDim: number): number {
  const [place, half] = [row % headDim, headDim / 2];
  return row - place + 2 * (place % half) + Math.floor(place / half);
}

const FORMATS: Readonly<Record<string, WeightFormat>> = {
  F32: 'f32',
  BF16: 'bf16',
  Q4_0: 'q40',
  Q4_1: 'q41',
  Q8_0: 'q80',
};

function sourceOf(file: GgufFile, name: string, { shape, format: stored }: GgufTensor): Source {
  const format = FORMATS[stored.name];
  if (format) return { format, shape, read: (from, to) => file.readBlocks(name, from, to) };
  const read: ReadBlocks = (from, to) => {
    const [first, last] = [Math.floor(from / stored.weights), Math.ceil(to / stored.weights)];
    const blocks = file.readBlocks(name, first * stored.weights, last * stored.weights);
    const values = dequantizeBlocks(stored, blocks).slice(from - first * stored.weights, to - first * stored.weights);
    return new Uint8Array(values.buffer);
  };
  return { format: 'f32', shape, read };
}
