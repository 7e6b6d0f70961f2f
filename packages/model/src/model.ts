/**
 * Llama, all of it: the shapes of the family, the weights, and one forward pass whose pullback is backward.
 *
 *   x = embed(tokens)
 *   x = x + attention(norm(x));  x = x + mlp(norm(x))      for every block
 *   loss = crossEntropy(norm(x) · headᵀ, next tokens)
 *
 * A model is a value: layers in named places. Whoever wants another layer in one (a slice of it, a ring) puts it there;
 * whoever wants some of its blocks takes those. Parameters are allocated last, when it's clear which are wanted.
 *
 * B batch, T time, N = B·T tokens, D model, H heads, G key and value heads, K head dimension, F feed-forward,
 * V vocabulary.
 *
 * Touvron et al., "LLaMA" (2023); Grattafiori et al., "The Llama 3 herd of models" (2024).
 */
// biome-ignore format: a list
import {
  causalAttention, chain, crossEntropy, type Embedding, embedding, type Layer, type Llama3Scaling, type Loss,
  type LossOptions, linear, mergeHeads, Parameter, type Pullback, partOf, pullbackThrough, type RopeTables, recomputed,
  residual, rmsNorm, rope, ropeFrequencies, ropeTablesFor, splitHeads, swiglu,
} from '@fourfold/ops';
import { cast, type DType, keyOf, normals, UserError } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

// ## Shapes

/** A Llama's shape. */
export interface LlamaConfig {
  /** L, how many blocks. */ readonly layers: number;
  /** D, the width of the residual stream. */ readonly dim: number;
  /** H, query heads. */ readonly heads: number;
  /** G, key and value heads; G divides H. */ readonly kvHeads: number;
  /** K, dimensions of a head: even, for RoPE. */ readonly headDim: number;
  /** F, the width of the feed-forward. */ readonly ffn: number;
  /** V, how many tokens it knows. */ readonly vocabulary: number;
  /** RoPE's base. */ readonly theta: number;
  /** ε, added to the mean square in RMSNorm. */ readonly normEpsilon: number;
  /** Whether the output weights are the embedding's. */ readonly tied: boolean;
  /** How RoPE is stretched, where it is. */ readonly ropeScaling?: Llama3Scaling;
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

/** Throws UserError for a shape that can't be built: G must divide H, and K be even. It says what would do. */
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

/** N, all parameters; a tied embedding once. */
export const parameterCount = (c: LlamaConfig): number =>
  [...parameterShapes(c).values()].reduce((sum, sides) => sum + sides.reduce((product, side) => product * side, 1), 0);

// ## Weights

/** Gives a parameter's first value, or the part of it that this rank holds: float32. The caller owns the tensor. */
export type Initialize = (parameter: Pick<Parameter, 'name' | 'fullShape' | 'shard'>) => Tensor;

/**
 * Normal numbers of standard deviation 0.02, those that end a residual branch smaller by sqrt(2·layers) (GPT-2's rule),
 * norms one. A parameter's value depends on the seed and its own name alone, so that it's the same in every layout: the
 * numbers of the whole tensor are drawn, and a rank takes its part of them.
 */
export const initialWeights =
  (seed: number, config: LlamaConfig): Initialize =>
  ({ name, fullShape, shard }) =>
    tf.tidy(() => {
      const sides = [...fullShape];
      if (sides.length === 1) return partOf(tf.ones(sides), shard);
      const endsBranch = name.includes('o_proj') || name.includes('down_proj');
      const std = endsBranch ? 0.02 / Math.sqrt(2 * config.layers) : 0.02;
      const size = sides.reduce((product, side) => product * side, 1);
      return partOf(tf.tensor(normals(keyOf(seed, name), 0, size, std), sides), shard);
    });

/** Allocates what the model holds, in its dtype: once, for values that were there before would not be freed. */
export function initialize(model: Llama, weights: Initialize): void {
  for (const parameter of model.parameters) parameter.value = tf.tidy(() => cast(weights(parameter), model.dtype));
}

// ## The model

/** Where the tokens of a pass stand: B sequences of T tokens, and the turns of their positions. */
export interface Place {
  /** Sequences. */ readonly B: number;
  /** Tokens of each. */ readonly T: number;
  /** Turns of the T positions. */ readonly rope: RopeTables;
}

/** The layers of one block, each in a place where another may be put. What has the same x is one product. */
export interface Block {
  /** x_ND to x_ND, before attention. */ inputNorm: Layer;
  /** x_ND to the heads of q, of k and of v beside one another: [N, (H+2G)·K]. */ qkv: Layer;
  /** G. */ kvHeads: number;
  /** For so many key and value heads: qkv_BTJK to o_BTHK, J = H+2G. */ attend: (kvHeads: number) => Layer;
  /** o_ND of all heads, [N, H·K], to what attention adds: [N, D]. */ output: Layer;
  /** x_ND to x_ND, before the MLP. */ postNorm: Layer;
  /** x_ND to gate and up beside one another: [N, 2F]. */ gateUp: Layer;
  /** The product of SwiGLU, [N, F], to what the MLP adds: [N, D]. */ down: Layer;
}

/** What of a block backward computes again instead of keeping it: docs/plan.md weighs them. */
export const RECOMPUTE = ['none', 'selective', 'block'] as const;
/** One of RECOMPUTE. */
export type Recompute = (typeof RECOMPUTE)[number];

/** A model, or some consecutive blocks of one: then it has an embedding, or a norm and a loss, or none of them. */
export interface Llama {
  /** Its shape, of the whole model. */ readonly config: LlamaConfig;
  /** Of weights and activations. */ readonly dtype: DType;
  /** What backward computes again. */ readonly recompute: Recompute;
  /** Whether a GPU computes the same bits every time, or attention's gradients in any order, which is faster. */
  readonly deterministic: boolean;
  /** What this part holds, from the embedding to the output. */ readonly parameters: Parameter[];
  /** The positions, in their whole sequence, of the T tokens that a pass sees of each. */
  positions: (T: number) => Int32Array;
  /** Their turns: the tensors are the caller's, the numbers are kept from one step to the next. */
  readonly turns: (positions_T: Int32Array) => RopeTables;
  /** The first layer, where this part has it. */ embed: Embedding | undefined;
  /** The blocks of this part. */ blocks: Block[];
  /** The last norm, where this part has it. */ norm: Layer | undefined;
  /** The output and the loss, where this part has them. */ loss: Loss | undefined;
  /** The weights that give logits, [V, D], where this part has them. */ head: Parameter | undefined;
}

/** What a model is made with; defaults: float32, 'none', deterministic, gradients in float32. */
export type LlamaOptions = Partial<Pick<Llama, 'dtype' | 'recompute' | 'deterministic'> & { gradDtype: DType }>;

/** Describes a model, or throws as checkConfig; `initialize` gives values. gradDtype: matrices'; norms' is float32. */
export function createLlama(config: LlamaConfig, options: LlamaOptions = {}): Llama {
  checkConfig(config);
  const { dtype = 'float32', gradDtype = 'float32', recompute = 'none', deterministic = true } = options;
  const parameters = new Map<string, Parameter>();
  for (const [name, sides] of parameterShapes(config))
    parameters.set(name, new Parameter(name, sides, sides.length > 1 ? gradDtype : 'float32'));
  const named = (name: string) => parameters.get(`${name}.weight`) as Parameter;
  const norm = (name: string) => rmsNorm(named(name), config.normEpsilon);
  const blocks = Array.from({ length: config.layers }, (_, i): Block => {
    const at = `model.layers.${i}`;
    const project = (...names: string[]) => linear(...names.map((name) => named(`${at}.${name}`)));
    return {
      inputNorm: norm(`${at}.input_layernorm`),
      qkv: project('self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'),
      kvHeads: config.kvHeads,
      attend: (kvHeads) => causalAttention({ kvHeads, deterministic }),
      output: project('self_attn.o_proj'),
      postNorm: norm(`${at}.post_attention_layernorm`),
      gateUp: project('mlp.gate_proj', 'mlp.up_proj'),
      down: project('mlp.down_proj'),
    };
  });
  const embed = named('model.embed_tokens');
  if (config.tied) embed.uses = 2;
  const head = config.tied ? embed : named('lm_head');
  return {
    ...{ config, dtype, recompute, deterministic },
    parameters: [...parameters.values()],
    positions: (T) => Int32Array.from({ length: T }, (_, t) => t),
    turns: ropeTablesFor(ropeFrequencies(config.headDim, config.theta, config.ropeScaling)),
    embed: embedding(embed),
    blocks,
    norm: norm('model.norm'),
    loss: crossEntropy(head),
    head,
  };
}

/** The place of B sequences, T tokens of each; free it with `freePlace`. */
export function placeOf({ positions, turns }: Llama, B: number, T: number): Place {
  return { B, T, rope: turns(positions(T)) };
}

/** Frees a place's tables. */
export const freePlace = ({ rope: { cos_TK, sin_TK } }: Place): void => tf.dispose([cos_TK, sin_TK]);

/** One block at a place, x_ND to x_ND: two branches beside the residual stream. */
export function blockLayer(model: Llama, block: Block, { B, T, rope: tables }: Place): Layer {
  const { kvHeads } = block;
  const pair = model.recompute === 'selective' ? (...two: Layer[]) => recomputed(chain(...two)) : chain;
  const attention = chain(
    ...[pair(block.inputNorm, block.qkv), splitHeads(B, T, model.config.headDim)],
    ...[rope(tables, kvHeads), block.attend(kvHeads), mergeHeads, block.output],
  );
  const mlp = chain(pair(block.postNorm, block.gateUp), pair(swiglu, block.down));
  const layer = chain(residual(attention), residual(mlp));
  return model.recompute === 'block' ? recomputed(layer) : layer;
}

/**
 * One part's pass: from tokens_BT (int32) where it has the embedding, else from the former part's x_ND, to x_ND (N/tp
 * tokens of it with sequence parallelism). The pullback returns the gradient by x_ND; by tokens there is none.
 */
export async function forward(
  part: Llama,
  input: Tensor,
  place: Place,
): Promise<[x_ND: Tensor, pull: Pullback<Tensor | undefined>]> {
  const blocks = part.blocks.map((block) => blockLayer(part, block, place));
  const body = chain(...blocks, ...(part.norm ? [part.norm] : []));
  if (!part.embed) return body(input);
  const [x_ND, pullEmbed] = await part.embed(input);
  const [y_ND, pullBody] = await body(x_ND);
  x_ND.dispose();
  const backward = async (dy_ND: Tensor) => {
    const dx_ND = await pullBody(dy_ND);
    await pullEmbed(dx_ND);
    dx_ND.dispose();
    return undefined;
  };
  return [y_ND, pullbackThrough([pullEmbed, pullBody], backward)];
}

/** The last part's pass, to the mean loss in nats, 0-d; targets_BT are int32. An Error in a part that has no loss. */
export async function forwardToLoss(
  part: Llama,
  input: Tensor,
  targets_BT: Tensor,
  place: Place,
  options: LossOptions = {},
): Promise<[loss: Tensor, pull: Pullback<Tensor | undefined, void>]> {
  if (!part.loss) throw new Error('this part of the model has no loss: it is not the last');
  const [x_ND, pullBody] = await forward(part, input, place);
  const [loss, pullLoss] = await part.loss(x_ND, targets_BT, options);
  x_ND.dispose();
  const backward = async () => {
    const dx_ND = await pullLoss();
    const dinput = await pullBody(dx_ND);
    dx_ND.dispose();
    return dinput;
  };
  return [loss, pullbackThrough([pullBody, pullLoss], backward)];
}

/**
 * The mean loss of one micro-batch (0-d, nats, the caller's), with every parameter's gradient accumulated. `weight`
 * (default 1) is the loss's share in the step's: 1 / gradAccSteps, so that the sum over micro-batches is the mean.
 */
export async function lossAndGradients(
  model: Llama,
  tokens_BT: Tensor,
  targets_BT: Tensor,
  weight = 1,
): Promise<Tensor> {
  const place = placeOf(model, ...(tokens_BT.shape as [number, number]));
  const [loss, pull] = await forwardToLoss(model, tokens_BT, targets_BT, place, { weight });
  await pull();
  freePlace(place);
  return loss;
}
