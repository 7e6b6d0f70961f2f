/**
 * Hugging Face's config.json, in and out: the shape of a Llama and what of it this repository computes.
 *
 *     {"model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "rope_theta": 100000.0, ...}
 *
 * transformers 4 writes rope_theta, rope_scaling and torch_dtype; transformers 5 writes rope_parameters and dtype. Both
 * are read. What a model of ours would compute otherwise than the file says, such as biases or another activation, is
 * refused: a loaded model gives transformers' logits or none.
 */
import { UserError } from '@fourfold/runtime/errors';
import { show } from '../files.ts';
import type { LlamaShape, TextEnds } from '../weights.ts';

/** A JSON object whose fields are not checked yet. */
export type Json = Readonly<Record<string, unknown>>;
const isRecord = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

// Far above any Llama, and low enough that no sum of sizes is inexact and no list of names fills the memory.
const MOST = { num_hidden_layers: 10_000, vocab_size: 2 ** 24, other: 2 ** 20 };

/**
 * The shape that a config.json describes; `path` is for the message.
 *
 * @throws UserError where it is no Llama, or one that is computed in a way this repository doesn't
 */
export function shapeFrom(json: unknown, path: string): LlamaShape {
  if (!isRecord(json)) throw new UserError(`${path} holds no settings of a model: it is no JSON object`);
  const refuse = (key: string, wanted: string): never => {
    throw new UserError(`${path}: ${key}=${show(json[key])} is not what this can load: it takes ${wanted}`);
  };
  const count = (key: string, preset?: number): number => {
    const value = json[key] ?? preset;
    const most = key in MOST ? MOST[key as keyof typeof MOST] : MOST.other;
    const sound = typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= most;
    return sound ? value : refuse(key, `a whole number from 1 to ${most}`);
  };
  if (json['model_type'] !== 'llama') refuse('model_type', '"llama"');
  for (const [key, value] of Object.entries(NEEDED))
    if (json[key] !== undefined && json[key] !== null && json[key] !== value) refuse(key, `${show(value)} or nothing`);
  if (json['quantization_config']) refuse('quantization_config', 'unquantized weights');
  const [dim, heads, tied] = [count('hidden_size'), count('num_attention_heads'), json['tie_word_embeddings'] ?? false];
  if (typeof tied !== 'boolean') refuse('tie_word_embeddings', 'true or false');
  const { theta, ...scaling } = ropeFrom(json, path);
  const normEpsilon = json['rms_norm_eps'] ?? 1e-6;
  if (!isPositive(normEpsilon) || normEpsilon >= 1) return refuse('rms_norm_eps', 'a number above 0 and below 1');
  return {
    ...{ layers: count('num_hidden_layers'), dim, heads, kvHeads: count('num_key_value_heads', heads) },
    ...{ headDim: count('head_dim', dim / heads), ffn: count('intermediate_size') },
    ...{ vocabulary: count('vocab_size'), theta, normEpsilon, tied: tied === true, ...scaling },
  };
}

/** What our Llama computes, where a file may say otherwise. */
const NEEDED = { hidden_act: 'silu', attention_bias: false, mlp_bias: false, partial_rotary_factor: 1 };

const isPositive = (value: unknown): value is number =>
  typeof value === 'number' && Number.isFinite(value) && value > 0 && value < 1e18;

/** The turns of positions, from either version's keys. */
function ropeFrom(json: Json, path: string): Pick<LlamaShape, 'theta' | 'ropeScaling'> {
  const key = isRecord(json['rope_parameters']) ? 'rope_parameters' : 'rope_scaling';
  const rope = json[key] ?? {};
  if (!isRecord(rope)) throw new UserError(`${path}: ${key}=${show(rope)} is no JSON object`);
  const number = (name: string, value: unknown): number => {
    if (isPositive(value)) return value;
    throw new UserError(`${path}: ${name}=${show(value)} is no number above 0`);
  };
  const theta = number('rope_theta', rope['rope_theta'] ?? json['rope_theta'] ?? 10000);
  const type = rope['rope_type'] ?? rope['type'] ?? 'default';
  if (type === 'default') return { theta };
  if (type !== 'llama3') throw new UserError(`${path}: ${key} of type ${show(type)} is not supported: llama3 is`);
  const scaling = (name: string) => number(`${key}.${name}`, rope[name]);
  const ropeScaling = {
    factor: scaling('factor'),
    lowFrequencyFactor: scaling('low_freq_factor'),
    highFrequencyFactor: scaling('high_freq_factor'),
    originalMaxPositions: scaling('original_max_position_embeddings'),
  };
  if (ropeScaling.highFrequencyFactor > ropeScaling.lowFrequencyFactor) return { theta, ropeScaling };
  throw new UserError(`${path}: ${key} has a high_freq_factor that is not above its low_freq_factor`);
}

/** What config.json says beside the shape. */
export interface ConfigNotes {
  /** What the weights are stored as. */
  readonly dtype: 'float32' | 'float16' | 'bfloat16';
  /** Positions that the model was trained for. */
  readonly maxPositions: number;
  /** Ids that begin and end a text. */
  readonly ends: TextEnds;
}

/** The ids that a config.json has for a text's beginning and end; what isn't an id is left away. */
export function endsFrom({ bos_token_id: begin, eos_token_id: end }: Json): TextEnds {
  const isId = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
  const isEnd = isId(end) || (Array.isArray(end) && end.length > 0 && end.length < 100 && end.every(isId));
  return { begin: isId(begin) ? begin : undefined, end: isEnd ? end : undefined };
}

/** A config.json that transformers 4 and 5 both read. */
export function configFrom(shape: LlamaShape, { dtype, maxPositions, ends: { begin, end } }: ConfigNotes): Json {
  const { factor, lowFrequencyFactor, highFrequencyFactor, originalMaxPositions } = shape.ropeScaling ?? {};
  const scaling = shape.ropeScaling && {
    ...{ rope_type: 'llama3', factor, low_freq_factor: lowFrequencyFactor, high_freq_factor: highFrequencyFactor },
    original_max_position_embeddings: originalMaxPositions,
  };
  return {
    ...{ architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_act: 'silu' },
    ...{ vocab_size: shape.vocabulary, hidden_size: shape.dim, intermediate_size: shape.ffn },
    ...{ num_hidden_layers: shape.layers, num_attention_heads: shape.heads, num_key_value_heads: shape.kvHeads },
    ...{ head_dim: shape.headDim, max_position_embeddings: maxPositions, rms_norm_eps: shape.normEpsilon },
    ...{ rope_theta: shape.theta, rope_scaling: scaling ?? null, tie_word_embeddings: shape.tied },
    rope_parameters: { rope_type: 'default', ...scaling, rope_theta: shape.theta },
    ...{ attention_bias: false, mlp_bias: false, torch_dtype: dtype, dtype },
    ...{ bos_token_id: begin ?? null, eos_token_id: end ?? null },
  };
}
