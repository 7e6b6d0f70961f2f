/**
 * The shape of a model that writes text: a Llama's, and what its relatives have beside it.
 *
 *     llama, mistral     as it is; Mistral may look back on a window of positions only
 *     qwen3              q and k of each head are normalized before they turn
 *     mixtral            the feed-forward is several of them, experts, of which a router chooses two for each token
 *     qwen3_moe          both
 *     grok-1             experts, embeddings and logits scaled, attention's scores capped
 */
import type { LlamaConfig } from '@fourfold/model';

/** A Llama's shape, and what its relatives have beside it. */
export interface ModelShape extends LlamaConfig {
  /** Which family's weights these are. */
  readonly architecture: 'llama' | 'mistral' | 'qwen3' | 'mixtral' | 'qwen3_moe' | 'grok-1';
  /** RMSNorm over each head of q and k, with weights self_attn.q_norm and k_norm of K numbers. */
  readonly qkNorm: boolean;
  /** How many positions back a token sees, itself included; undefined: all. */
  readonly window?: number;
  /** Present where a feed-forward is several; `ffn` is then the width of each. */
  readonly experts?: {
    readonly count: number;
    /** How many compute a token. */
    readonly active: number;
    /** Whether the chosen ones' weights are made to add up to one. */
    readonly normalized: boolean;
  };
  /** Positions that the model was trained for. */
  readonly maxPositions: number;
  /** What Grok-1 alone has; its experts are gated by GELU, and a norm stands after attention and experts as well. */
  readonly grok?: GrokExtras;
}

/** Grok-1's own numbers. */
export interface GrokExtras {
  /** Embeddings are multiplied by this. */
  readonly embeddingScale: number;
  /** And logits by this. */
  readonly logitScale: number;
  /** A score s of attention becomes cap · tanh(s / cap). */
  readonly scoreCap: number;
}

/** Grok-1, by xAI's count 314 billion weights, of which a token meets 84: https://github.com/xai-org/grok-1, run.py */
export const GROK_1: ModelShape = {
  ...{ architecture: 'grok-1', layers: 64, dim: 6144, heads: 48, kvHeads: 8, headDim: 128, ffn: 32768 },
  ...{ vocabulary: 131072, theta: 1e4, normEpsilon: 1e-5, tied: true, qkNorm: false, maxPositions: 8192 },
  experts: { count: 8, active: 2, normalized: false },
  grok: { embeddingScale: 78.38367176906169, logitScale: 0.5773502691896257, scoreCap: 30 },
};

/**
 * Every tensor of a model by the name that it has here, Hugging Face's for a Llama, and its sides. An expert's matrices
 * have names of their own, however a file holds them.
 */
export function tensorShapes(shape: ModelShape): Map<string, readonly number[]> {
  const { layers, dim, heads, kvHeads, headDim, vocabulary, tied } = shape;
  const shapes = new Map<string, readonly number[]>([['model.embed_tokens.weight', [vocabulary, dim]]]);
  for (let i = 0; i < layers; i++) {
    const add = (name: string, ...sides: number[]) => shapes.set(`model.layers.${i}.${name}.weight`, sides);
    add('input_layernorm', dim);
    add('self_attn.q_proj', heads * headDim, dim);
    add('self_attn.k_proj', kvHeads * headDim, dim);
    add('self_attn.v_proj', kvHeads * headDim, dim);
    add('self_attn.o_proj', dim, heads * headDim);
    if (shape.qkNorm) for (const which of ['q', 'k']) add(`self_attn.${which}_norm`, headDim);
    if (shape.grok) for (const which of ['attention', 'mlp']) add(`${which}_output_norm`, dim);
    add('post_attention_layernorm', dim);
    addFeedForward(shape, add);
  }
  shapes.set('model.norm.weight', [dim]);
  if (!tied) shapes.set('lm_head.weight', [vocabulary, dim]);
  return shapes;
}

function addFeedForward({ dim, ffn, experts }: ModelShape, add: (name: string, ...sides: number[]) => void): void {
  if (experts) add('mlp.gate', experts.count, dim);
  for (const place of experts ? expertPlaces(experts.count) : ['mlp']) {
    add(`${place}.gate_proj`, ffn, dim);
    add(`${place}.up_proj`, ffn, dim);
    add(`${place}.down_proj`, dim, ffn);
  }
}

/** Where the matrices of each expert are, in a layer's names: mlp.experts.0, mlp.experts.1, ... */
export const expertPlaces = (count: number): string[] => Array.from({ length: count }, (_, e) => `mlp.experts.${e}`);
