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
 */
// biome-ignore format: a list
import {
  architectureOf, dequantizeBlocks, endsIn, GGUF_NAMES, type GgufFile, type GgufTensor, openGguf, settingsAsConfig,
  show, tokenizerFilesFrom,
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
    return {
      ...{ path, shape, ...tensorsThrough(path, sources, shape, spellGguf) },
      tokenizerFiles: tokenizerFilesFrom(file),
      ends: endsIn(file),
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

/**
 * By the file's settings, which are checked as a config.json's. llama.cpp makes the weights of the chosen experts add
 * up to one, in both of its models that have them.
 */
function shapeIn(file: GgufFile): ModelShape {
  const kind = architectureOf(file);
  const type = TYPES[kind];
  if (!type)
    throw new UserError(`${file.path} is a model of kind ${show(kind)}: it takes ${Object.keys(TYPES).join(', ')}`);
  const config = settingsAsConfig(file);
  const isMixtral = type === 'llama' && Number(config['num_experts'] ?? 0) > 0;
  return modelShapeFrom({ ...config, model_type: isMixtral ? 'mixtral' : type, norm_topk_prob: true }, file.path);
}

// ## Tensors

/** "model.layers.3.self_attn.q_proj.weight" to "blk.3.attn_q.weight", experts to rows of the tensor of all. */
export const spellGguf: Spell = (name, sides, shape) => {
  const [, layer, part = ''] = /^(?:model\.layers\.(\d+)\.)?(.+)\.weight$/.exec(name) ?? [];
  const before = layer === undefined ? '' : `blk.${layer}.`;
  const [, expert, which] = /^mlp\.experts\.(\d+)\.(gate|up|down)_proj$/.exec(part) ?? [];
  if (shape.experts && expert !== undefined) {
    const all = [shape.experts.count, ...sides];
    return [{ stored: `${before}ffn_${which}_exps.weight`, sides: all, firstRow: Number(expert) * Number(sides[0]) }];
  }
  const gguf = GGUF_NAMES[part];
  return gguf ? [{ stored: `${before}${gguf}.weight`, sides, ...placeOf(part, shape) }] : [];
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
