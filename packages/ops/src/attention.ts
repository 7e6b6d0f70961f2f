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
 * B batch, T time, H query heads, G key and value heads, K head dimension.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { type AttentionBlockOptions, attentionBlock, attentionBlockGradients } from './attention-block.ts';
import { share } from './kernels.ts';
import { type Layer, pullback } from './layer.ts';

export type AttentionOptions = Pick<AttentionBlockOptions, 'tileBytes'>;

/** [q_BTHK, k_BTGK, v_BTGK] to o_BTHK. */
export const causalAttention =
  (options: AttentionOptions = {}): Layer<readonly Tensor[]> =>
  async (inputs) => {
    const [q, k, v] = inputs.map(share) as [Tensor, Tensor, Tensor];
    const block = { ...options, causal: true };
    const [o_BTHK, lse] = attentionBlock(q, k, v, block);
    const saved = { q, k, v, o: share(o_BTHK), lse };
    const backward = (dO: Tensor): readonly Tensor[] => attentionBlockGradients({ ...saved, dO }, block);
    return [o_BTHK, pullback(Object.values(saved), backward)];
  };
