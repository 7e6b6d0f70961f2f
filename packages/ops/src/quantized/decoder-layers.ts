/**
 * Layers of a decoder that are alike, in one op: what decoder-layer.ts's two do in turns, to the bit, with the sums
 * over the ranks that share them in between (process-group's lanes).
 *
 *     for every layer:  x += attentionHalf(x);  x += feedForward(x)          each branch summed over the ranks
 *
 * Where there is no such op (wasm, GPUs), or layers are not alike, the loop in TypeScript remains.
 */
import { attr, execute, onTensorflowCpu } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import { attentionNumbers, type Cache, type CachedAttentionOptions } from './cached-attention.ts';
import type { AttentionWeights, FeedForwardWeights } from './decoder-layer.ts';
import { type Packed, shapeNumbers } from './packed.ts';
import type { Activations } from './packed-product.ts';

/** One layer's weights, or a rank's part of them. Norms' gains are float32. */
export interface DecoderLayer {
  /** Gain of the norm before attention. */
  readonly inputNorm_D: Tensor;
  /** The matrices of attention. */
  readonly attention: AttentionWeights;
  /** Gains of the norms of each head of q and of k, where the model has them (Qwen3). */
  readonly qkNorm: { readonly q_K: Tensor; readonly k_K: Tensor } | undefined;
  /** Gain of the norm before the feed-forward. */
  readonly postNorm_D: Tensor;
  /** The matrices of the feed-forward. */
  readonly feedForward: FeedForwardWeights;
}

/** What holds for all layers alike. */
export interface DecoderLayersOptions extends Omit<CachedAttentionOptions, 'qkNorm'> {
  /** What the matrices multiply. */
  readonly activations: Activations;
  /** ε of all norms. */
  readonly epsilon: number;
  /** The number of the lanes to the ranks that share the layers; undefined where this rank has all of them. */
  readonly lanes?: number | undefined;
}

/** The four matrices of a layer, in the order in which a row meets them. */
const matricesOf = ({ attention, feedForward }: DecoderLayer): Packed[] => [
  ...[attention.qkv_JD, attention.out_DH, feedForward.up_2FD, feedForward.down_DF],
];
/** Format, rows and columns of each. */
const shapesOf = (layer: DecoderLayer): number[] => matricesOf(layer).flatMap(shapeNumbers);

/** Whether one op can compute these layers: native, of one shape and one format each. */
export function areAlike(layers: readonly DecoderLayer[]): boolean {
  const [first] = layers;
  return (
    first !== undefined &&
    onTensorflowCpu() &&
    layers.every((layer) => matricesOf(layer).every(({ native }) => native)) &&
    new Set(layers.map((layer) => `${shapesOf(layer)} ${layer.qkNorm !== undefined}`)).size === 1
  );
}

/**
 * y_ND of x_ND, float32, for layers that `areAlike`; k and v of rows_N2 (slots and positions, int32) go to the layers'
 * caches, one each, of one shape.
 */
export function decoderLayers(
  x_ND: Tensor,
  layers: readonly DecoderLayer[],
  caches: readonly Cache[],
  rows_N2: Tensor,
  options: DecoderLayersOptions,
): Tensor {
  const [first, cache] = [layers[0] as DecoderLayer, caches[0] as Cache];
  const { tables, activations, epsilon, lanes = -1 } = options;
  const matrices = layers.flatMap(matricesOf).map(({ data }) => data);
  const gains = layers.flatMap(({ inputNorm_D, postNorm_D, qkNorm }) => [
    ...[inputNorm_D, postNorm_D, ...(qkNorm ? [qkNorm.q_K, qkNorm.k_K] : [])],
  ]);
  const inputs = [x_ND, rows_N2, tables.cos_TK, tables.sin_TK, ...caches.map(({ data }) => data as Tensor)];
  const { qkNorm } = first;
  const normed = qkNorm ? { ...options, qkNorm: { ...qkNorm, epsilon } } : options;
  return execute(
    'FourfoldDecoderLayers',
    [...inputs, ...matrices, ...gains],
    [
      ...[attr.int('L', layers.length), attr.int('R', matrices.length), attr.int('M', gains.length)],
      attr.ints('shapes', shapesOf(first)),
      attr.ints('how', [Number(qkNorm !== undefined), Number(activations === 'q80'), lanes]),
      ...[attr.float('norm_epsilon', epsilon), ...attentionNumbers(cache, normed)],
    ],
  );
}
