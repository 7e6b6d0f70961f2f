/**
 * Hugging Face's config.json of the models that write text here.
 *
 *     model_type    beside a Llama's keys
 *     mistral       sliding_window
 *     qwen3         head_dim
 *     mixtral       num_local_experts, num_experts_per_tok, sliding_window
 *     qwen3_moe     num_experts, num_experts_per_tok, moe_intermediate_size, norm_topk_prob, head_dim
 *     grok-1        num_experts, num_experts_per_tok, attn_output_multiplier, max_attn_value,
 *                   embedding_multiplier_scale, output_multiplier_scale
 *
 * Both spellings of transformers 4 and 5 are read. What a file leaves to its model's presets, which differ from a
 * Llama's, it must say; what would be computed otherwise here is refused by name.
 */
import { shapeFrom, show } from '@fourfold/checkpoint';
import { UserError } from '@fourfold/runtime/errors';
import type { ModelShape } from './shape.ts';

type Json = Readonly<Record<string, unknown>>;

const ARCHITECTURES = ['llama', 'mistral', 'qwen3', 'mixtral', 'qwen3_moe', 'grok-1'] as const;
type Architecture = ModelShape['architecture'];

/** Presets of these keys are other ones than a Llama's: [key, models that must say it]. */
const MUST_SAY: readonly (readonly [string, readonly Architecture[]])[] = [
  ['num_key_value_heads', ['mistral', 'qwen3', 'mixtral', 'qwen3_moe', 'grok-1']],
  ['rms_norm_eps', ['mixtral', 'grok-1']],
  ['head_dim', ['qwen3', 'qwen3_moe']],
  ['tie_word_embeddings', ['grok-1']],
];

/** What isn't computed here: keys and the values that mean nothing of it. */
const REFUSED: readonly (readonly [string, readonly unknown[]])[] = [
  ['use_sliding_window', [false]],
  ['decoder_sparse_step', [1]],
  ['attn_output_multiplier', []],
];

/**
 * The shape that a config.json describes; `path` is for messages.
 *
 * @throws UserError where it is no model of these kinds, or one that is computed in a way that isn't here
 */
export function modelShapeFrom(json: Json, path: string): ModelShape {
  const read = new Settings(json, path);
  const architecture = ARCHITECTURES.find((each) => each === json['model_type']);
  if (!architecture) return read.refuse('model_type', ARCHITECTURES.map(show).join(', '));
  for (const [key, models] of MUST_SAY)
    if (models.includes(architecture) && (json[key] ?? undefined) === undefined)
      read.refuse(key, 'a value in the file');
  const experts = expertsIn(read, architecture);
  const grok = architecture === 'grok-1' ? grokIn(read) : undefined;
  refuseTheRest(read, architecture, grok !== undefined);
  const ffn = architecture === 'qwen3_moe' ? read.count('moe_intermediate_size') : json['intermediate_size'];
  const plain = shapeFrom({ ...json, ...asLlama(json), intermediate_size: ffn }, path);
  const window = ['mistral', 'mixtral'].includes(architecture) ? read.countOrNone('sliding_window') : undefined;
  return {
    ...plain,
    ...{ architecture, qkNorm: architecture === 'qwen3' || architecture === 'qwen3_moe' },
    maxPositions: read.count('max_position_embeddings'),
    ...(window ? { window } : {}),
    ...(experts ? { experts } : {}),
    ...(grok ? { grok } : {}),
  };
}

/** What hides a relative from the Llama's reader: its type, and blocks of ours, which reading tells apart. */
const asLlama = ({ quantization_config: blocks }: Json) => ({
  model_type: 'llama',
  quantization_config: isOurs(blocks) ? undefined : blocks,
});

/** Whether weights are in the blocks that `fourfold convert` writes. */
export const isOurs = (quantization: unknown): boolean =>
  (quantization as Json | null)?.['quant_method'] === 'fourfold';

function expertsIn(read: Settings, architecture: Architecture): ModelShape['experts'] {
  if (!['mixtral', 'qwen3_moe', 'grok-1'].includes(architecture)) return undefined;
  const spelled = read.json['num_local_experts'] === undefined ? 'num_experts' : 'num_local_experts';
  const [count, active] = [read.count(spelled), read.count('num_experts_per_tok')];
  if (active > count) read.refuse('num_experts_per_tok', `at most the ${count} experts`);
  const normalized = architecture === 'mixtral' || (architecture === 'qwen3_moe' && read.flag('norm_topk_prob'));
  return { count, active, normalized };
}

/** The published file has these under these names; attention's multiplier is one over the root of a head's size. */
function grokIn(read: Settings): ModelShape['grok'] {
  const multiplier = read.positive('attn_output_multiplier');
  const headDim = Number(read.json['hidden_size']) / Number(read.json['num_attention_heads']);
  if (Math.abs(multiplier * Math.sqrt(headDim) - 1) > 1e-6)
    read.refuse('attn_output_multiplier', `${1 / Math.sqrt(headDim)}, one over the root of a head's size`);
  return {
    embeddingScale: read.positive('embedding_multiplier_scale'),
    logitScale: read.positive('output_multiplier_scale'),
    scoreCap: read.positive('max_attn_value'),
  };
}

function refuseTheRest(read: Settings, architecture: Architecture, isGrok: boolean): void {
  const { json } = read;
  for (const [key, fine] of REFUSED)
    if (
      !(isGrok && key === 'attn_output_multiplier') &&
      (json[key] ?? undefined) !== undefined &&
      !fine.includes(json[key])
    )
      read.refuse(key, fine.length ? `${fine.map(show).join(', ')} or nothing` : 'nothing');
  const dense = json['mlp_only_layers'];
  if (Array.isArray(dense) ? dense.length > 0 : (dense ?? undefined) !== undefined)
    read.refuse('mlp_only_layers', 'an empty list: every layer has experts here');
  const types = json['layer_types'] ?? [];
  const slides = ['mistral', 'mixtral'].includes(architecture) && typeof json['sliding_window'] === 'number';
  const wanted = slides ? 'sliding_attention' : 'full_attention';
  if (!Array.isArray(types) || types.some((type) => type !== wanted))
    read.refuse('layer_types', `${show(wanted)} for every layer, or nothing`);
}

/** A config.json, and refusals that name the key. */
class Settings {
  readonly json: Json;
  readonly path: string;

  constructor(json: Json, path: string) {
    this.json = json;
    this.path = path;
  }

  refuse(key: string, wanted: string): never {
    throw new UserError(`${this.path}: ${key}=${show(this.json[key])} is not what this can load: it takes ${wanted}`);
  }

  count(key: string): number {
    const value = this.json[key];
    const isCount = typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 2 ** 24;
    return isCount ? value : this.refuse(key, `a whole number from 1 to ${2 ** 24}`);
  }

  countOrNone(key: string): number | undefined {
    return (this.json[key] ?? undefined) === undefined ? undefined : this.count(key);
  }

  positive(key: string): number {
    const value = this.json[key];
    const isPositive = typeof value === 'number' && Number.isFinite(value) && value > 0;
    return isPositive ? value : this.refuse(key, 'a number above 0');
  }

  flag(key: string): boolean {
    const value = this.json[key] ?? false;
    return typeof value === 'boolean' ? value : this.refuse(key, 'true or false');
  }
}
