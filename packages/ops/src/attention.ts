/**
 * Causal attention: every token takes a mean of the values before it, weighted by how well its query fits their keys.
 *
 *   S = q · kᵀ / √K         scores, [T, T] for each head; a query sees no key after it
 *   P = softmax(S)
 *   o = P · v
 *
 * Backward (D is one number a query: the softmax's gradient needs it, and o gives it without P):
 *
 *   dv = Pᵀ · do            dP = do · vᵀ            D = Σ_K do · o
 *   dS = P · (dP - D)       dq = dS · k / √K        dk = dSᵀ · q / √K
 *
 * P, a number for each pair of tokens, is never kept: backward computes it again from q, k and one number a query, the
 * logarithm of the sum that its softmax divided by. So this is attention over a single block of keys that is all there
 * is; attention-block.ts computes it. Dao et al., "FlashAttention" (2022).
 *
 * B batch, T time, H query heads, G key and value heads, K head dimension; J = H + 2G, all heads of q, k and v.
 */
import { hasFusedOps } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
// biome-ignore format: a list
import {
  type AttentionBlockOptions, type AttentionSaved, attentionBlock, attentionBlockGradients, scaleOf,
} from './attention-block.ts';
import * as fused from './fused.ts';
import { concat, share, slice } from './kernels.ts';
import { type Layer, pullback } from './layer.ts';

/** How a rank's attention is computed. */
export interface AttentionOptions extends Omit<AttentionBlockOptions, 'causal'> {
  /** G: how many of qkv's J heads are k's, and as many v's. */
  readonly kvHeads: number;
}

/** qkv_BTJK, whose heads are those of q, of k and of v in this order, to o_BTHK. */
export const causalAttention =
  ({ kvHeads, ...options }: AttentionOptions): Layer =>
  async (qkv_BTJK) => {
    const { deterministic = true } = options;
    const form = { causal: true, scale: scaleOf(qkv_BTJK), kvHeads, deterministic };
    const block = { ...options, causal: true };
    const isFused = hasFusedOps(qkv_BTJK);
    const [o_BTHK, lse] = isFused
      ? fused.attention([qkv_BTJK], form)
      : tf.tidy(() => attentionBlock(...headsOf(qkv_BTJK, kvHeads), block));
    const saved = { qkv: share(qkv_BTJK), o: share(o_BTHK), lse };
    const backward = (dO: Tensor): Tensor => {
      if (isFused) return fused.attentionGrad([saved.qkv], { ...saved, dO }, form)[0];
      return tf.tidy(() => concat(attentionBlockGradients(separated({ ...saved, dO }, kvHeads), block), 2));
    };
    return [o_BTHK, pullback(Object.values(saved), backward)];
  };

/** What forward keeps: the inputs as one tensor, o, and one number a query instead of T scores. */
type Saved = Pick<AttentionSaved, 'o' | 'lse' | 'dO'> & { readonly qkv: Tensor };

/** The same with q, k and v apart, as attention-block.ts wants them. */
function separated({ qkv, ...saved }: Saved, kvHeads: number): AttentionSaved {
  const [q, k, v] = headsOf(qkv, kvHeads);
  return { ...saved, q, k, v };
}

/** q_BTHK, k_BTGK and v_BTGK out of one tensor: copies. */
export function headsOf(qkv_BTJK: Tensor, kvHeads: number): [q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor] {
  const H = (qkv_BTJK.shape[2] as number) - 2 * kvHeads;
  return [slice(qkv_BTJK, 2, 0, H), slice(qkv_BTJK, 2, H, kvHeads), slice(qkv_BTJK, 2, H + kvHeads, kvHeads)];
}
