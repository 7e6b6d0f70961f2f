/**
 * Llama, all of it: the shapes of the family, the weights, and one forward pass whose pullback is backward.
 *
 *   x = embed(tokens)
 *   x = x + attention(norm(x));  x = x + mlp(norm(x))      for every block
 *   loss = crossEntropy(norm(x) · headᵀ, next tokens)
 *
 * A model is a value: layers in named places, and the parameters in them. Whoever wants another layer in a place (a
 * slice of it, a ring) puts it there; nothing here knows why.
 *
 * B batch, T time, N = B·T tokens, D model, H heads, G key and value heads, K head dimension, F feed-forward,
 * V vocabulary.
 *
 * Touvron et al., "LLaMA" (2023); Grattafiori et al., "The Llama 3 herd of models" (2024).
 */
// biome-ignore format: a list
import {
  causalAttention, chain, crossEntropy, crossEntropyLoss, each, embedding, fanOut, identity, kernels, type Layer,
  type Llama3Scaling, linear, mergeHeads, Parameter, type Pullback, pullbackThrough, type RopeTables, recomputed,
  residual, rmsNorm, rope, ropeFrequencies, ropeTables, splitHeads, swiglu,
} from '@fourfold/ops';
import { cast, type DType, keyOf, normals, UserError } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

// ## Shapes

export interface LlamaConfig {
  readonly layers: number;
  readonly dim: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ffn: number;
  readonly vocabulary: number;
  readonly theta: number;
  readonly normEpsilon: number;
  /** Whether the output weights are the embedding's. */
  readonly tied: boolean;
  readonly ropeScaling?: Llama3Scaling;
}

// biome-ignore format: a table
const shape = (layers: number, dim: number, heads: number, kvHeads: number, ffn: number, vocabulary: number,
  theta: number, tied: boolean, ropeScaling?: Llama3Scaling): LlamaConfig => ({
  layers, dim, heads, kvHeads, headDim: dim / heads, ffn, vocabulary, theta, normEpsilon: 1e-5, tied,
  ...(ropeScaling ? { ropeScaling } : {}),
});
const LLAMA_32 = { factor: 32, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192 };

/** The models by name. A vocabulary of 0 stands for that of the tokenizer that the model is trained with. */
// biome-ignore format: a table; layers, dim, heads, kv heads, ffn, vocabulary, theta, tied
export const MODELS: Readonly<Record<string, LlamaConfig>> = {
  'nano':           shape(2, 64, 4, 2, 192, 0, 1e4, true),
  'micro':          shape(4, 128, 4, 2, 384, 0, 1e4, true),
  'stories15M':     shape(6, 288, 6, 6, 768, 32000, 1e4, true),
  'SmolLM-135M':    shape(30, 576, 9, 3, 1536, 49152, 1e4, true),
  'SmolLM-360M':    shape(32, 960, 15, 5, 2560, 49152, 1e4, true),
  'SmolLM-1.7B':    shape(24, 2048, 32, 32, 8192, 49152, 1e4, true),
  'TinyLlama-1.1B': shape(22, 2048, 32, 4, 5632, 32000, 1e4, false),
  'Llama-2-7B':     shape(32, 4096, 32, 32, 11008, 32000, 1e4, false),
  'Llama-3.2-1B':   shape(16, 2048, 32, 8, 8192, 128256, 5e5, true, LLAMA_32),
  'Llama-3-8B':     shape(32, 4096, 32, 8, 14336, 128256, 5e5, false),
};

/** Stops a shape that can't be built, with the numbers that would do. */
export function checkConfig(c: LlamaConfig): void {
  if (c.heads % c.kvHeads !== 0) {
    const fit = Array.from({ length: c.heads }, (_, i) => i + 1).filter((g) => c.heads % g === 0);
    throw new UserError(`kvHeads=${c.kvHeads} does not divide heads=${c.heads}: use ${fit.join(', ')}`);
  }
  if (!Number.isInteger(c.headDim) || c.headDim % 2 !== 0)
    throw new UserError(
      `heads=${c.heads} gives heads of ${c.headDim} dimensions (dim=${c.dim}): RoPE needs an even whole number`,
    );
}

/** Every parameter's name, Hugging Face's, and shape, from the embedding to the output. */
export function parameterShapes(c: LlamaConfig): Map<string, number[]> {
  const shapes = new Map<string, number[]>([['model.embed_tokens.weight', [c.vocabulary, c.dim]]]);
  for (let i = 0; i < c.layers; i++) {
    const add = (name: string, ...sides: number[]) => shapes.set(`model.layers.${i}.${name}.weight`, sides);
    add('input_layernorm', c.dim);
    add('self_attn.q_proj', c.heads * c.headDim, c.dim);
    add('self_attn.k_proj', c.kvHeads * c.headDim, c.dim);
    add('self_attn.v_proj', c.kvHeads * c.headDim, c.dim);
    add('self_attn.o_proj', c.dim, c.heads * c.headDim);
    add('post_attention_layernorm', c.dim);
    add('mlp.gate_proj', c.ffn, c.dim);
    add('mlp.up_proj', c.ffn, c.dim);
    add('mlp.down_proj', c.dim, c.ffn);
  }
  shapes.set('model.norm.weight', [c.dim]);
  if (!c.tied) shapes.set('lm_head.weight', [c.vocabulary, c.dim]);
  return shapes;
}

export const parameterCount = (c: LlamaConfig): number =>
  [...parameterShapes(c).values()].reduce((sum, sides) => sum + sides.reduce((product, side) => product * side, 1), 0);

// ## Weights

/** Gives a parameter's first value: [shape], float32. The caller owns the tensor. */
export type Initialize = (name: string, shape: number[]) => Tensor;

/**
 * Normal numbers of standard deviation 0.02, those that end a residual branch smaller by sqrt(2·layers) (GPT-2's rule),
 * norms one. A parameter's value depends on the seed and its own name alone, so that it's the same in every layout.
 */
export const initialWeights =
  (seed: number, config: LlamaConfig): Initialize =>
  (name, sides) => {
    if (sides.length === 1) return tf.ones(sides);
    const endsBranch = name.includes('o_proj') || name.includes('down_proj');
    const std = endsBranch ? 0.02 / Math.sqrt(2 * config.layers) : 0.02;
    const size = sides.reduce((product, side) => product * side, 1);
    return tf.tensor(normals(keyOf(seed, name), 0, size, std), sides);
  };

// ## The model

/** Where the tokens of a pass stand: B sequences of T tokens, and the turns of their positions. */
export interface Place {
  readonly B: number;
  readonly T: number;
  readonly rope: RopeTables;
}

/** The layers of one block, each in a place where another may be put. */
export interface Block {
  inputNorm: Layer;
  /** x_ND to q_ND, k and v. */
  qkv: Layer<Tensor, readonly Tensor[]>;
  /** [q_BHTK, k_BGTK, v_BGTK] to o_BHTK. */
  attend: Layer<readonly Tensor[]>;
  output: Layer;
  postNorm: Layer;
  /** x_ND to gate_NF and up_NF. */
  gateUp: Layer<Tensor, readonly Tensor[]>;
  down: Layer;
}

export interface Llama {
  readonly config: LlamaConfig;
  readonly dtype: DType;
  readonly parameters: Parameter[];
  readonly recompute: boolean;
  embed: ReturnType<typeof embedding>;
  blocks: Block[];
  norm: Layer;
  head: Parameter;
}

export interface LlamaOptions {
  readonly initialize: Initialize;
  /** Of weights and activations (default float32). */
  readonly dtype?: DType;
  /** Keep only the input of each block, and run it again in backward (default false). */
  readonly recompute?: boolean;
}

/** Builds a model; all its parameters are allocated here. */
export function createLlama(
  config: LlamaConfig,
  { initialize, dtype = 'float32', recompute = false }: LlamaOptions,
): Llama {
  checkConfig(config);
  const parameters = new Map<string, Parameter>();
  for (const [name, sides] of parameterShapes(config)) {
    const value = tf.tidy(() => cast(initialize(name, sides), dtype));
    parameters.set(name, new Parameter(name, value));
  }
  const named = (name: string) => parameters.get(`${name}.weight`) as Parameter;
  const norm = (name: string) => rmsNorm(named(name), config.normEpsilon);
  const blocks = Array.from({ length: config.layers }, (_, i): Block => {
    const at = `model.layers.${i}`;
    const project = (name: string) => linear(named(`${at}.${name}`));
    return {
      inputNorm: norm(`${at}.input_layernorm`),
      qkv: fanOut(project('self_attn.q_proj'), project('self_attn.k_proj'), project('self_attn.v_proj')),
      attend: causalAttention(),
      output: project('self_attn.o_proj'),
      postNorm: norm(`${at}.post_attention_layernorm`),
      gateUp: fanOut(project('mlp.gate_proj'), project('mlp.up_proj')),
      down: project('mlp.down_proj'),
    };
  });
  const embed = named('model.embed_tokens');
  return {
    config,
    dtype,
    recompute,
    parameters: [...parameters.values()],
    embed: embedding(embed),
    blocks,
    norm: norm('model.norm'),
    head: config.tied ? embed : named('lm_head'),
  };
}

/** The place of B whole sequences of T tokens; free it with `tf.dispose(place.rope)`. */
export function placeOf({ config, dtype }: Pick<Llama, 'config' | 'dtype'>, B: number, T: number): Place {
  const positions_T = Int32Array.from({ length: T }, (_, t) => t);
  return {
    B,
    T,
    rope: ropeTables(positions_T, ropeFrequencies(config.headDim, config.theta, config.ropeScaling), dtype),
  };
}

/** One block at a place: two branches beside the residual stream. */
export function blockLayer(model: Llama, block: Block, { B, T, rope: tables }: Place): Layer {
  const split = splitHeads(B, T, model.config.headDim);
  const attention = chain(
    chain(block.inputNorm, block.qkv),
    chain(each(split, split, split), each(rope(tables), rope(tables), identity)),
    chain(block.attend, mergeHeads),
    block.output,
  );
  const mlp = chain(chain(block.postNorm, block.gateUp), swiglu, block.down);
  const layer = chain(residual(attention), residual(mlp));
  return model.recompute ? recomputed(layer) : layer;
}

/** tokens_BT to the vectors that the head reads, x_ND. */
export async function forward(
  model: Llama,
  tokens_BT: Tensor,
  place: Place,
): Promise<[x_ND: Tensor, pull: Pullback<void>]> {
  const [x_ND, pullEmbed] = await model.embed(tokens_BT);
  const body = chain(...model.blocks.map((block) => blockLayer(model, block, place)), model.norm);
  const [y_ND, pullBody] = await body(x_ND);
  x_ND.dispose();
  const backward = async (dy_ND: Tensor) => {
    const dx_ND = await pullBody(dy_ND);
    await pullEmbed(dx_ND);
    dx_ND.dispose();
  };
  return [y_ND, pullbackThrough([pullEmbed, pullBody], backward)];
}

/**
 * The mean loss of one micro-batch (a 0-d tensor), with every parameter's gradient accumulated.
 *
 * `weight` is this loss's share in the step's: 1 / gradAccSteps, so that the sum over micro-batches is the mean.
 */
export async function lossAndGradients(
  model: Llama,
  tokens_BT: Tensor,
  targets_BT: Tensor,
  weight = 1,
): Promise<Tensor> {
  const [B, T] = tokens_BT.shape as [number, number];
  const place = placeOf(model, B, T);
  const [x_ND, pullBody] = await forward(model, tokens_BT, place);
  const [loss, pullHead] = await crossEntropy(model.head)(x_ND, targets_BT);
  const dx_ND = await pullHead(weight);
  await pullBody(dx_ND);
  tf.dispose([x_ND, dx_ND, place.rope.cos_TK, place.rope.sin_TK]);
  return loss;
}

/** The mean loss alone, for validation: nothing is kept for backward. */
export async function lossOf(model: Llama, tokens_BT: Tensor, targets_BT: Tensor): Promise<Tensor> {
  const x_ND = await hidden(model, tokens_BT);
  const loss = crossEntropyLoss(model.head.value, x_ND, targets_BT);
  x_ND.dispose();
  return loss;
}

/** The logits of the token after the last one of each sequence: [B, V], float32. */
export async function nextTokenLogits(model: Llama, tokens_BT: Tensor): Promise<Tensor> {
  const [B, T] = tokens_BT.shape as [number, number];
  const x_ND = await hidden(model, tokens_BT);
  const logits_BV = tf.tidy(() => {
    const last_BD = kernels.slice(kernels.reshape(x_ND, [B, T, -1]), 1, T - 1, 1);
    return cast(kernels.matmul(kernels.reshape(last_BD, [B, -1]), model.head.value, 'nt'), 'float32');
  });
  x_ND.dispose();
  return logits_BV;
}

async function hidden(model: Llama, tokens_BT: Tensor): Promise<Tensor> {
  const [B, T] = tokens_BT.shape as [number, number];
  const place = placeOf(model, B, T);
  const [x_ND, pull] = await forward(model, tokens_BT, place);
  pull.drop();
  tf.dispose([place.rope.cos_TK, place.rope.sin_TK]);
  return x_ND;
}
