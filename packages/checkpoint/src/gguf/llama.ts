/**
 * A Llama in a GGUF file, under Hugging Face's names and in Hugging Face's order.
 *
 * llama.cpp turns the pairs (x0, x1), (x2, x3), ... of a head by RoPE, transformers the pairs (x0, xK/2), (x1, xK/2+1),
 * ...: the same model with the rows of its q and k in another order, which the conversion to GGUF changed. Reading puts
 * them back:
 *
 *     row of the file    0     1     2     3     4     5         a head of K = 6
 *     row of ours        0    K/2    1   K/2+1   2   K/2+2
 */
import type { Shard } from '@fourfold/ops';
import { UserError } from '@fourfold/runtime/errors';
import { show } from '../files.ts';
import type { FloatDType, Floats } from '../floats.ts';
import { sizeOf } from '../header.ts';
import { shapeFrom } from '../huggingface/config.ts';
import { type LlamaShape, type Pretrained, runsOf, type WeightInfo, type Weights } from '../weights.ts';
import { architectureOf, endsIn, GGUF_NAMES, settingsAsConfig } from './config.ts';
import { type GgufFile, type GgufTensor, openGguf } from './file.ts';
import { tokenizerFilesFrom } from './tokenizer.ts';

/**
 * Opens a GGUF file as a model.
 *
 * @throws UserError where it isn't sound, or no Llama of ours
 */
export async function openLlamaGguf(path: string): Promise<Pretrained> {
  const file = await openGguf(path);
  try {
    const { max_position_embeddings: positions, ...config } = settingsAsConfig(file);
    const shape = shapeIn(file, config);
    const maxPositions = typeof positions === 'number' && positions > 0 ? positions : undefined;
    return {
      ...{ shape, weights: weightsIn(file, shape), maxPositions },
      ...{ tokenizerFiles: tokenizerFilesFrom(file), ends: endsIn(file) },
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** The shape by the file's settings, which are checked as a config.json's. */
function shapeIn(file: GgufFile, config: Record<string, unknown>): LlamaShape {
  const architecture = architectureOf(file);
  if (architecture !== 'llama')
    throw new UserError(`${file.path} is a model of kind ${show(architecture)}, and no llama`);
  return shapeFrom({ model_type: 'llama', ...config }, file.path);
}

const NAMES = new Map(Object.entries(GGUF_NAMES).map(([ours, ggufs]) => [ggufs, ours]));

/** "blk.3.attn_q.weight" to "model.layers.3.self_attn.q_proj.weight". A name that isn't known stays as it is. */
export function nameOf(ggufName: string): string {
  const [, block, part = ''] = /^(?:blk\.(\d+)\.)?(\w+)\.weight$/.exec(ggufName) ?? [];
  const name = NAMES.get(part);
  if (!name) return ggufName;
  return block === undefined ? `${name}.weight` : `model.layers.${block}.${name}.weight`;
}

/** The narrowest dtype that holds a format's numbers: blocks' products need float32. */
const dtypeOf = ({ format: { name } }: GgufTensor): FloatDType => (name === 'F16' || name === 'BF16' ? name : 'F32');

function weightsIn(file: GgufFile, shape: LlamaShape): Weights {
  const { headDim } = shape;
  checkHeads(file, shape);
  const names = new Map([...file.tensors.keys()].map((name) => [nameOf(name), name]));
  const tensors = new Map<string, WeightInfo>();
  for (const [name, stored] of names) {
    const tensor = file.tensors.get(stored) as GgufTensor;
    tensors.set(name, { dtype: dtypeOf(tensor), shape: tensor.shape });
  }
  return {
    ...{ path: file.path, tensors, close: file.close },
    read(name, shard) {
      const stored = names.get(name) as string;
      const tensor = file.tensors.get(stored) as GgufTensor;
      const isTurned = /\.attn_[qk]\.weight$/.test(stored);
      const values = readPart(file, stored, tensor, shard);
      const columns = tensor.shape.at(-1) as number;
      return isTurned ? turnedBack(values, shard?.axis === 1 ? columns / shard.of : columns, headDim) : values;
    },
  };
}

/** Rows can be put back where they are whole heads of pairs. */
function checkHeads({ path, tensors }: GgufFile, { heads, kvHeads, headDim }: LlamaShape): void {
  for (const [name, { shape }] of tensors) {
    const [, part] = /\.attn_([qk])\.weight$/.exec(name) ?? [];
    const wanted = (part === 'q' ? heads : kvHeads) * headDim;
    if (part && (shape.length !== 2 || shape[0] !== wanted || headDim % 2 !== 0))
      throw new UserError(`${path}: "${name}" has shape [${shape}], and by its settings ${wanted} rows`);
  }
}

/** Reads a part in blocks: a run that begins or ends amid a block is cut out of the blocks around it. */
function readPart(file: GgufFile, name: string, { shape, format }: GgufTensor, shard?: Shard): Floats {
  const part = new Float32Array(sizeOf(shape) / (shard?.of ?? 1));
  let done = 0;
  for (const [from, to] of runsOf(shape, shard)) {
    const [first, last] = [Math.floor(from / format.weights), Math.ceil(to / format.weights)];
    const values = file.read(name, first * format.weights, last * format.weights);
    part.set(values.subarray(from - first * format.weights, to - first * format.weights), done);
    done += to - from;
  }
  return part;
}

/** Rows of q or k, whole heads of them, in transformers' order. */
function turnedBack(values: Floats, columns: number, headDim: number): Floats {
  const out = new Float32Array(values.length);
  for (let row = 0; row < values.length / columns; row++) {
    const [head, place] = [Math.floor(row / headDim), row % headDim];
    const ours = head * headDim + (place >> 1) + (place % 2) * (headDim / 2);
    out.set(values.subarray(row * columns, (row + 1) * columns), ours * columns);
  }
  return out;
}
