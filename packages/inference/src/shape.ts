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

export interface ModelShape extends LlamaConfig {
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
}
