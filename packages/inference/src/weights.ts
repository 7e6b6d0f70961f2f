/**
 * A rank's share of the weights, packed for the kernels.
 *
 *     file ── bytes of this rank's rows and columns ──> [another format] ── beside what has the same x ──> packed
 *
 * q, k and v are one matrix, and so are gate and up: their x is read once. One tensor's part is read at a time, so
 * while it loads a rank holds its share and one product's bytes.
 */

// biome-ignore format: a list
import {
  type AttentionWeights, type ExpertWeights, type FeedForwardWeights, type Packed, packWeight, type WeightFormat,
} from '@fourfold/ops';
import { constant } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import { expertPlaces, type ModelShape } from './shape.ts';
import { headName, heldFormat, partOf, type Share } from './slices.ts';
import { bytesFrom, floatsOf, lengthOf, type StoredModel, type StoredTensor } from './stored.ts';

/** Several feed-forwards, one matrix behind the other, and what chooses among them. */
export interface RoutedExperts extends ExpertWeights {
  /** The matrix [E, D] that gives a row its logits of the experts. */
  readonly router: Packed;
}

/** A rank's share of one layer. Norms' gains are float32. */
export interface LayerWeights {
  /** Of the norm before attention. */
  readonly inputNorm_D: Tensor;
  /** Its heads of attention's matrices. */
  readonly attention: AttentionWeights;
  /** q's and k's gains where each head is normalized. */
  readonly qkNorm: { readonly q_K: Tensor; readonly k_K: Tensor } | undefined;
  /** Grok's: norms of what attention and the experts add. */
  readonly branchNorms: { readonly attention_D: Tensor; readonly mlp_D: Tensor } | undefined;
  /** Of the norm before the feed-forward. */
  readonly postNorm_D: Tensor;
  /** Its part of the feed-forward, or of each expert. */
  readonly feedForward: FeedForwardWeights | RoutedExperts;
}

/** One rank's weights, ready to compute with. */
export interface RankWeights {
  /** Of all layers, the first to see the tokens first. */
  readonly layers: readonly LayerWeights[];
  /** Of the last norm, float32. */
  readonly norm_D: Tensor;
  /** This rank's rows of the matrix that makes logits. */
  readonly head: Packed;
  /** Frees them. */
  dispose(): void;
}

/**
 * Reads a rank's share. The model stays open, and its owner's.
 *
 * @param weights what the matrices are converted to; undefined: they stay as they are stored
 */
export function loadShare(model: StoredModel, share: Share, weights?: WeightFormat): RankWeights {
  const loader = new Loader(model, share, weights);
  try {
    const layers = Array.from({ length: model.shape.layers }, (_, i) => loadLayer(loader, model.shape, i));
    const [norm_D, head] = [loader.vector('model.norm.weight'), loader.matrix([headName(model.shape)])];
    return { layers, norm_D, head, dispose: () => loader.dispose() };
  } catch (error) {
    loader.dispose();
    throw error;
  }
}

function loadLayer(loader: Loader, shape: ModelShape, layer: number): LayerWeights {
  const named = (part: string) => `model.layers.${layer}.${part}.weight`;
  const vector = (part: string) => loader.vector(named(part));
  const matrix = (...parts: string[]) => loader.matrix(parts.map(named));
  return {
    inputNorm_D: vector('input_layernorm'),
    attention: {
      qkv_JD: matrix('self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'),
      out_DH: matrix('self_attn.o_proj'),
    },
    qkNorm: shape.qkNorm ? { q_K: vector('self_attn.q_norm'), k_K: vector('self_attn.k_norm') } : undefined,
    branchNorms: shape.grok && { attention_D: vector('attention_output_norm'), mlp_D: vector('mlp_output_norm') },
    postNorm_D: vector('post_attention_layernorm'),
    feedForward: shape.experts ? experts(loader, named, shape.experts.count) : feedForward(matrix),
  };
}

const feedForward = (matrix: (...parts: string[]) => Packed): FeedForwardWeights => ({
  up_2FD: matrix('mlp.gate_proj', 'mlp.up_proj'),
  down_DF: matrix('mlp.down_proj'),
});

function experts(loader: Loader, named: (part: string) => string, count: number): RoutedExperts {
  const places = expertPlaces(count);
  const gateUp = places.flatMap((place) => [named(`${place}.gate_proj`), named(`${place}.up_proj`)]);
  return {
    router: loader.matrix([named('mlp.gate')]),
    up_E2FD: loader.matrix(gateUp, count),
    down_EDF: loader.matrix(
      places.map((place) => named(`${place}.down_proj`)),
      count,
    ),
  };
}

/** Reads parts of tensors, and remembers what it made to free it. */
class Loader {
  readonly #model: StoredModel;
  readonly #share: Share;
  readonly #weights: WeightFormat | undefined;
  readonly #made: { dispose(): void }[] = [];

  constructor(model: StoredModel, share: Share, weights: WeightFormat | undefined) {
    this.#model = model;
    this.#share = share;
    this.#weights = weights;
  }

  vector(name: string): Tensor {
    const { format } = this.#tensor(name);
    return this.#kept(constant(floatsOf(format, this.#model.read(name)), this.#tensor(name).shape));
  }

  /**
   * Matrices of as many columns, one above the other; in float32 where their formats differ. With `matrices` they are
   * so many of as many rows each.
   */
  matrix(names: readonly string[], matrices = 1): Packed {
    const formats = new Set(names.map((name) => this.#heldFormat(name)));
    const format = formats.size === 1 ? ([...formats][0] as WeightFormat) : 'f32';
    const parts = names.map((name) => this.#read(name, format));
    const rows = parts.reduce((sum, part) => sum + part.rows, 0);
    const bytes = Buffer.concat(parts.map((part) => part.bytes));
    return this.#kept(packWeight(format, rows / matrices, (parts[0] as { columns: number }).columns, bytes, matrices));
  }

  dispose(): void {
    for (const made of this.#made.splice(0)) made.dispose();
  }

  #heldFormat(name: string): WeightFormat {
    return heldFormat(name, this.#tensor(name), this.#weights);
  }

  /** This rank's part of a tensor in a format. */
  #read(name: string, wanted: WeightFormat) {
    const { format, shape } = this.#tensor(name);
    const part = partOf(name, this.#model.shape, this.#share) ?? {};
    const { rows = [0, shape[0] as number], columns = [0, shape[1] as number] } = part;
    const stored = this.#model.read(name, part);
    const bytes = format === wanted ? stored : bytesFrom(wanted, floatsOf(format, stored));
    return { rows: lengthOf(rows), columns: lengthOf(columns), bytes };
  }

  #tensor(name: string): StoredTensor {
    return this.#model.tensors.get(name) as StoredTensor;
  }

  #kept<T extends { dispose(): void }>(made: T): T {
    this.#made.push(made);
    return made;
  }
}
