/**
 * A model's weights wherever they lie: names, shapes, and the numbers of any part of a tensor.
 *
 *     tensor-parallel rank 1 of 2      axis 0: rows lie end to end          axis 1: a piece of every row
 *                                      ........                             ....####
 *                                      ########   one read                  ....####   a read a row
 *
 * A rank reads its part of each tensor and no more, whatever the format: a Hugging Face folder (huggingface/folder.ts)
 * or a GGUF file (gguf/llama.ts).
 */
import type { Llama3Scaling, Parameter, Shard } from '@fourfold/ops';
import { UserError } from '@fourfold/runtime/errors';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { FloatDType, Floats } from './floats.ts';
import { sizeOf } from './header.ts';

/** A Llama's shape: the fields of model's LlamaConfig, which stands above this package. */
export interface LlamaShape {
  /** L, how many blocks. */
  readonly layers: number;
  /** D, the width of the residual stream. */
  readonly dim: number;
  /** H, query heads. */
  readonly heads: number;
  /** G, key and value heads. */
  readonly kvHeads: number;
  /** K, dimensions of a head. */
  readonly headDim: number;
  /** F, the width of the feed-forward. */
  readonly ffn: number;
  /** V, how many tokens it knows. */
  readonly vocabulary: number;
  /** RoPE's base. */
  readonly theta: number;
  /** What RMSNorm adds to the mean square. */
  readonly normEpsilon: number;
  /** Whether the output weights are the embedding's. */
  readonly tied: boolean;
  /** How RoPE is stretched, where it is. */
  readonly ropeScaling?: Llama3Scaling;
}

/** A weight: its shape, and the narrowest dtype that holds its numbers. */
export interface WeightInfo {
  /** One of FLOATS. */
  readonly dtype: FloatDType;
  /** Its sides, the outermost first. */
  readonly shape: readonly number[];
}

/** A model's weights in files. */
export interface Weights {
  /** Where they lie, for messages. */
  readonly path: string;
  /** By Hugging Face name. */
  readonly tensors: ReadonlyMap<string, WeightInfo>;
  /** A tensor's numbers, or those of a rank's part of it, row by row, as float32. All else waits meanwhile. */
  read(name: string, shard?: Shard): Floats;
  /** Closes its files. */
  close(): void;
}

/** What a loaded model brings along. */
export interface Pretrained {
  /** The model's shape. */
  readonly shape: LlamaShape;
  /** Its weights, open for reading. */
  readonly weights: Weights;
  /** The longest sequence that it was trained on. */
  readonly maxPositions: number | undefined;
  /** tokenizer.json and what lies beside it, by file name. */
  readonly tokenizerFiles: ReadonlyMap<string, string>;
  /** Ids of the tokens that begin and end a text. */
  readonly ends: TextEnds;
}

/** Ids; a model may have several that end a text. */
export interface TextEnds {
  /** What a text begins with; absent where nothing does. */
  readonly begin?: number | undefined;
  /** What ends a text; absent where nothing does. */
  readonly end?: number | readonly number[] | undefined;
}

/** The elements of a part, as runs that lie end to end: [from, to) in the order of the part. */
export function* runsOf(shape: readonly number[], shard: Shard | undefined): Generator<[from: number, to: number]> {
  if (!shard) return yield [0, sizeOf(shape)];
  const inner = sizeOf(shape.slice(shard.axis)); // elements from one index of the axes before to the next
  const run = inner / shard.of;
  for (let at = shard.index * run; at < sizeOf(shape); at += inner) yield [at, at + run];
}

/** A parameter's first value, or a rank's part, float32, out of such weights: what model's `initialize` takes. */
export const valuesFrom =
  (weights: Weights) =>
  ({ name, fullShape, shard }: Pick<Parameter, 'name' | 'fullShape' | 'shard'>): Tensor => {
    const shape = fullShape.map((side, axis) => (axis === shard?.axis ? side / shard.of : side));
    return tf.tensor(weights.read(name, shard), shape);
  };

/**
 * Refuses weights that are not those of a model of these shapes, before any is read.
 *
 * @throws UserError, a sentence that names the tensor
 */
export function checkWeights({ path, tensors }: Weights, shapes: ReadonlyMap<string, readonly number[]>): void {
  for (const [name, shape] of shapes) {
    const found = tensors.get(name);
    if (!found) throw new UserError(`${path} has no tensor "${name}", which its config asks for`);
    if (`${found.shape}` !== `${shape}`)
      throw new UserError(`${path}: "${name}" has shape [${found.shape}], and by its config it has [${shape}]`);
  }
  for (const name of tensors.keys())
    if (!shapes.has(name)) throw new UserError(`${path} has a tensor "${name}", which no Llama of its config has`);
}
