/**
 * What one rank computes of a step: rows of tokens to its part of their logits.
 *
 *     x = embed(token)                                       [N, D], the same on every rank
 *     for every layer, each of the two lines one op:
 *       x += attention(norm(x) · Wqkv, cache) · Wo           this rank's heads; summed over ranks
 *       x += swiglu(norm(x) · Wgate-up) · Wdown              this rank's columns; summed over ranks
 *     logits = norm(x) · W                                   this rank's rows of the vocabulary, for rows that want any
 *
 * Two ops and two sums a layer; with experts three ops, one of which is the router's; and where ops can sum over ranks
 * by themselves, one op for all layers. A row is one token of one
 * sequence; rows of a prompt and rows of answers that go on are computed together, and none changes the bits of
 * another's.
 *
 * The embedding isn't held: a token needs one row of it, D weights of V·D, which is read from the file it lies in
 * (2 KB of Llama 3 8B's 295 MB in blocks of 4 bits, and no bytes between ranks).
 */
// biome-ignore format: a list
import {
  type Activations, areAlike, attentionHalf, bestLogits, type Cache, type CacheFormat, copyCache, createCache,
  type DecoderLayer, decoderLayers, expertsProduct, feedForward, kernels, type NormOptions, packedProduct,
  type RopeTables, ropeFrequencies, ropeTables,
} from '@fourfold/ops';
import { constant, read } from '@fourfold/runtime';
import { hostInts } from '@fourfold/runtime/shapes';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { Logits, Row } from './decoder.ts';
import type { Ranks } from './ranks.ts';
import { EMBEDDING, type Share } from './slices.ts';
import { floatsOf, lengthOf, type StoredModel } from './stored.ts';
import type { LayerWeights, RankWeights, RoutedExperts } from './weights.ts';
import { type Wanted, wantedOf } from './wire.ts';

/** How a rank computes. */
export interface ComputeOptions {
  /** Sequences at once. */
  readonly slots: number;
  /** Positions of each sequence. */
  readonly maxSeqLength: number;
  /** What the matrices multiply: float32, or int8 in blocks of 32 with a scale each. */
  readonly activations: Activations;
  /** What keys and values are kept in. */
  readonly kvCache: CacheFormat;
}

/** Layers for one op, which sums over the ranks by itself. */
interface Stack {
  readonly layers: readonly DecoderLayer[];
  readonly within: NonNullable<Ranks['within']>;
}

/** Those of a model, if they are alike, plain, and their ranks can be summed over so. */
function stackOf({ layers }: RankWeights, ranks: Ranks): Stack | undefined {
  const plain = layers.flatMap(({ feedForward: own, branchNorms, ...rest }) =>
    'router' in own || branchNorms ? [] : [{ ...rest, feedForward: own }],
  );
  const { within } = ranks;
  return within && plain.length === layers.length && areAlike(plain) ? { layers: plain, within } : undefined;
}

/** One rank's share of a model, with its caches: computes that rank's part of each step. */
export class RankModel {
  /** What of the model the rank holds. */
  readonly share: Share;
  readonly #model: StoredModel;
  readonly #weights: RankWeights;
  readonly #ranks: Ranks;
  readonly #options: ComputeOptions;
  readonly #caches: readonly Cache[];
  readonly #rope: RopeTables;
  /** All layers, where one op computes them. */
  readonly #stack: Stack | undefined;

  /** Takes the weights over; the model stays open, and its owner's, until this is disposed of. */
  constructor(model: StoredModel, weights: RankWeights, share: Share, ranks: Ranks, options: ComputeOptions) {
    const { headDim, theta, ropeScaling } = model.shape;
    const { slots, maxSeqLength: positions, kvCache: format } = options;
    const kvHeads = lengthOf(share.kvHeads);
    this.share = share;
    this.#model = model;
    this.#weights = weights;
    this.#ranks = ranks;
    this.#options = options;
    this.#caches = weights.layers.map(() => createCache({ slots, positions, kvHeads, headDim, format }));
    this.#stack = stackOf(weights, ranks);
    const frequencies = ropeFrequencies(headDim, theta, ropeScaling);
    this.#rope = ropeTables(
      Array.from({ length: positions }, (_, position) => position),
      frequencies,
    );
  }

  /**
   * Computes rows, whose keys and values then are in the caches, and this rank's part of the logits of those that want
   * some, in their order: its best ones, with ids of the whole vocabulary, or all of its slice.
   */
  async compute(rows: readonly Row[]): Promise<Logits[]> {
    const rows_N2 = hostInts(Int32Array.from(rows.flatMap(({ slot, position }) => [slot, position])), [rows.length, 2]);
    let x_ND = this.#embed(rows);
    const passOn = async (next: Promise<Tensor>) => {
      const y_ND = await next;
      x_ND.dispose();
      x_ND = y_ND;
    };
    try {
      if (this.#stack) await passOn(this.#allLayers(x_ND, this.#stack, rows_N2));
      else
        for (const [i, weights] of this.#weights.layers.entries()) {
          await passOn(this.#attend(x_ND, weights, this.#caches[i] as Cache, rows_N2));
          await passOn(this.#feedForward(x_ND, weights));
        }
      return await this.#logits(x_ND, rows);
    } finally {
      tf.dispose([x_ND, rows_N2]); // also where a rank was lost amid a sum
    }
  }

  /** Copies the first positions of one slot to another. */
  copySlot(from: number, to: number, length: number): void {
    for (const cache of this.#caches) copyCache(cache, from, to, length);
  }

  /** Frees the weights and the caches. */
  dispose(): void {
    for (const cache of this.#caches) cache.dispose();
    this.#weights.dispose();
    tf.dispose([this.#rope.cos_TK, this.#rope.sin_TK]);
  }

  #embed(rows: readonly Row[]): Tensor {
    const { shape, tensors } = this.#model;
    const format = tensors.get(EMBEDDING)?.format ?? 'f32';
    const x = new Float32Array(rows.length * shape.dim);
    for (const [n, { token }] of rows.entries())
      x.set(floatsOf(format, this.#model.read(EMBEDDING, { rows: [token, token + 1] })), n * shape.dim);
    if (shape.grok) for (let i = 0; i < x.length; i++) x[i] = (x[i] as number) * shape.grok.embeddingScale;
    return constant(x, [rows.length, shape.dim]);
  }

  /** The same as layer by layer, in one op. */
  async #allLayers(x_ND: Tensor, stack: Stack, rows_N2: Tensor): Promise<Tensor> {
    const { activations } = this.#options;
    const { normEpsilon: epsilon } = this.#model.shape;
    return stack.within((lanes) =>
      decoderLayers(x_ND, stack.layers, this.#caches, rows_N2, { ...this.#look(), activations, epsilon, lanes }),
    );
  }

  /** How this rank's heads look at the cache. */
  #look() {
    const { heads, kvHeads, headDim, window, grok } = this.#model.shape;
    return {
      ...{ heads: lengthOf(this.share.heads), groupSize: heads / kvHeads, headOffset: this.share.headOffset },
      ...{ tables: this.#rope, window, scale: 1 / Math.sqrt(headDim), softcap: grok?.scoreCap },
    };
  }

  async #attend(x_ND: Tensor, weights: LayerWeights, cache: Cache, rows_N2: Tensor): Promise<Tensor> {
    const { normEpsilon: epsilon } = this.#model.shape;
    const { activations } = this.#options;
    const options = {
      ...{ ...this.#look(), activations, norm: { gain_I: weights.inputNorm_D, epsilon } },
      ...{ qkNorm: weights.qkNorm && { ...weights.qkNorm, epsilon } },
    };
    const branch = (onto_ND: Tensor | undefined) =>
      attentionHalf(x_ND, weights.attention, cache, rows_N2, { ...options, onto_ND });
    return this.#onto(x_ND, branch, weights.branchNorms?.attention_D);
  }

  async #feedForward(x_ND: Tensor, weights: LayerWeights): Promise<Tensor> {
    const { activations } = this.#options;
    const norm = { gain_I: weights.postNorm_D, epsilon: this.#model.shape.normEpsilon };
    const own = weights.feedForward;
    if ('router' in own) return this.#experts(x_ND, own, norm, weights.branchNorms?.mlp_D);
    const branch = (onto_ND: Tensor | undefined) => feedForward(x_ND, own, { activations, norm, onto_ND });
    return this.#onto(x_ND, branch, undefined);
  }

  async #experts(x_ND: Tensor, weights: RoutedExperts, norm: NormOptions, gain_D: Tensor | undefined): Promise<Tensor> {
    const { experts, grok } = this.#model.shape;
    const { active, normalized } = experts as NonNullable<typeof experts>;
    const { activations } = this.#options;
    const logits_NE = packedProduct(x_ND, weights.router, { activations: 'float32', norm });
    const branch = (onto_ND: Tensor | undefined) =>
      expertsProduct(x_ND, logits_NE, weights, {
        ...{ activations, norm, onto_ND, active, normalized, gelu: grok !== undefined },
      });
    return this.#onto(x_ND, branch, gain_D).finally(() => logits_NE.dispose());
  }

  /** x plus a branch, of which every rank computes a part; in Grok plus its norm. */
  async #onto(
    x_ND: Tensor,
    branch: (onto_ND: Tensor | undefined) => Tensor,
    gain_D: Tensor | undefined,
  ): Promise<Tensor> {
    if (this.#ranks.size === 1 && !gain_D) return branch(x_ND);
    const part_ND = branch(undefined);
    const sum_ND = await this.#ranks.sum(part_ND, gain_D ? undefined : x_ND).finally(() => part_ND.dispose());
    if (!gain_D) return sum_ND;
    const branch_ND = await normalized(sum_ND, gain_D, this.#model.shape.normEpsilon);
    const y_ND = kernels.add(x_ND, branch_ND);
    tf.dispose([sum_ND, branch_ND]);
    return y_ND;
  }

  async #logits(x_ND: Tensor, rows: readonly Row[]): Promise<Logits[]> {
    const wanting = rows.flatMap(({ wanted }, n) => (wanted === 'nothing' || wanted === 0 ? [] : [n]));
    if (wanting.length === 0) return [];
    const { normEpsilon: epsilon, grok } = this.#model.shape;
    const ids_N = hostInts(Int32Array.from(wanting), [wanting.length]);
    const wanted_ND = kernels.takeRows(x_ND, ids_N);
    const norm = { gain_I: this.#weights.norm_D, epsilon };
    const raw_NV = packedProduct(wanted_ND, this.#weights.head, { activations: this.#options.activations, norm });
    const logits_NV = kernels.scale(raw_NV, grok?.logitScale ?? 1);
    const parts = await this.#parts(logits_NV, wantedOf(rows));
    tf.dispose([ids_N, wanted_ND, raw_NV, logits_NV]);
    return parts;
  }

  /** What rows want of this rank's slice: the best ones, and only where a row wants all of it the slice itself. */
  async #parts(logits_NV: Tensor, wanted: readonly Wanted[]): Promise<Logits[]> {
    const [N, V] = logits_NV.shape as [number, number];
    const counts = wanted.map((each) => (each === 'all' ? 1 : Math.min(each, V)));
    const k = Math.max(...counts);
    const best = bestLogits(logits_NV, k);
    const [ids, values, sums] = (await Promise.all(
      [best.ids_NK, best.values_NK, best.logSumExp_N].map((each) => read(each)),
    )) as [Int32Array, Float32Array, Float32Array];
    const all = wanted.includes('all') ? ((await read(logits_NV)) as Float32Array) : new Float32Array(0);
    tf.dispose([best.ids_NK, best.values_NK, best.logSumExp_N]);
    const [first] = this.share.vocabulary;
    return Array.from({ length: N }, (_, n) => {
      const [logSumExp, count] = [sums[n] as number, counts[n] as number];
      if (wanted[n] === 'all') return { values: all.slice(n * V, (n + 1) * V), logSumExp };
      const own = ids.subarray(n * k, n * k + count);
      return { ids: own.map((id) => id + first), values: values.slice(n * k, n * k + count), logSumExp };
    });
  }
}

/**
 * RMSNorm of what a branch adds, Grok's alone: [N, D] in plain numbers, since the stock kernels add up a row in another
 * order when there are more rows, and a row's bits must not depend on the others.
 */
async function normalized(x_ND: Tensor, gain_D: Tensor, epsilon: number): Promise<Tensor> {
  const [x, gain] = (await Promise.all([read(x_ND), read(gain_D)])) as [Float32Array, Float32Array];
  const [D, y] = [gain.length, new Float32Array(x.length)];
  for (let row = 0; row < x.length; row += D) {
    let squares = 0;
    for (let d = 0; d < D; d++) squares += (x[row + d] as number) ** 2;
    const scale = 1 / Math.sqrt(squares / D + epsilon);
    for (let d = 0; d < D; d++) y[row + d] = (x[row + d] as number) * scale * (gain[d] as number);
  }
  return constant(y, x_ND.shape);
}
