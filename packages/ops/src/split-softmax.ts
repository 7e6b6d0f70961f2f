/**
 * The loss of logits that n ranks share out, each with those of its own V words: no rank ever has all logits of a
 * token. What they must tell each other are three numbers a token.
 *
 *   each rank r of its own:   m_r = max logit     s_r = Σ exp(logit - m_r)     t_r = the target's logit, or 0
 *   together:                 m = max_r m_r       s = Σ_r s_r · exp(m_r - m)   t = Σ_r t_r
 *
 *   loss = log s - (t - m)    dlogit = exp(logit - m) / s - (1 at the target), times the weight
 *
 * `logitStatistics` comes before the ranks' gather and `logitGradient` after it: one op each, which reads the logits
 * once, the second one writing the gradient over them. The version before it was a dozen stock kernels over the logits
 * in float32, with one all-reduce for m and, since s was relative to that, a second one for s and t.
 *
 * A rank that has all words has no need of this: cross-entropy.ts does both in one op.
 */
import { cast, hasFusedOps } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { lossOf, type TokenLosses } from './cross-entropy.ts';
import { ownRows } from './embedding.ts';
import * as fused from './fused.ts';
import { concat, exp, log, max, mul, pick, placesOf, put, reshape, sub, sum } from './kernels.ts';

/** What the loss over split logits asks. */
export interface SplitLossOptions {
  /** The id of the first of this rank's words. */
  readonly first: number;
  /** Whether there will be a backward. */
  readonly gradients: boolean;
  /** What the gradients are multiplied by: as a rule 1 / N of a mean over N tokens. */
  readonly weight: number;
}

const LOWEST = -3.4028234663852886e38; // of float32: where all of a rank's words are -∞, they have s = 0 and not NaN

/** m, s and t of this rank's logits: [C, 3], float32. targets_C: int32 ids of the whole vocabulary. */
export function logitStatistics(logits_CV: Tensor, targets_C: Tensor, first: number): Tensor {
  if (hasFusedOps(logits_CV)) return fused.logitStatistics(logits_CV, targets_C, first);
  return tf.tidy(() => {
    const wide_CV = cast(logits_CV, 'float32');
    const m_C1 = tf.maximum(max(wide_CV, 1, true), LOWEST);
    const s_C1 = tf.tidy(() => sum(exp(sub(wide_CV, m_C1)), 1, true));
    const { places_C2, mine_C } = ownPlaces(wide_CV, targets_C, first);
    const t_C = tf.where(mine_C, pick(wide_CV, places_C2), 0);
    return concat([m_C1, s_C1, tf.expandDims(t_C, 1)], 1);
  });
}

/**
 * The losses and, where they are wanted, the gradients by this rank's logits, which it takes over. `stats`: those of
 * all n ranks, in the order of their words, [n·C, 3]. All ranks get the same bits.
 */
export function logitGradient(
  logits_CV: Tensor,
  targets_C: Tensor,
  stats: Tensor,
  options: SplitLossOptions,
): TokenLosses {
  if (!hasFusedOps(logits_CV)) return stockGradient(logits_CV, targets_C, stats, options);
  return lossOf(fused.logitGradient(logits_CV, targets_C, stats, options), logits_CV, options.gradients);
}

// ## In stock kernels

/** In float32, and what is large is freed before the next large one is made. */
function stockGradient(logits_CV: Tensor, targets_C: Tensor, stats: Tensor, options: SplitLossOptions): TokenLosses {
  const { first, gradients, weight } = options;
  const wide_CV = cast(logits_CV, 'float32');
  logits_CV.dispose();
  return tf.tidy(() => {
    const [m_C1, s_C1, t_C1] = merged(stats, targets_C.size);
    const losses_C = reshape(sub(log(s_C1), sub(t_C1, m_C1)), [-1]);
    const shifted_CV = gradients ? sub(wide_CV, m_C1) : undefined;
    wide_CV.dispose();
    if (!shifted_CV) return { losses_C };
    const exp_CV = exp(shifted_CV);
    shifted_CV.dispose();
    const p_CV = mul(exp_CV, tf.div(weight, s_C1)); // times the weight
    exp_CV.dispose();
    const { places_C2, mine_C } = ownPlaces(p_CV, targets_C, first);
    const atTarget_C = sub(pick(p_CV, places_C2), tf.mul(tf.cast(mine_C, 'float32'), weight));
    return { losses_C, dlogits_CV: put(p_CV, places_C2, atTarget_C) };
  });
}

/** m, s and t of all ranks. */
function merged(stats: Tensor, C: number): [m_C1: Tensor, s_C1: Tensor, t_C1: Tensor] {
  const all_nC3 = reshape(stats, [stats.size / (3 * C), C, 3]);
  const [m_nC1, s_nC1, t_nC1] = tf.split(all_nC3, 3, 2) as [Tensor, Tensor, Tensor];
  const m_C1 = max(m_nC1, 0);
  return [m_C1, sum(mul(s_nC1, exp(sub(m_nC1, m_C1))), 0), sum(t_nC1, 0)];
}

/** The pairs (n, place of target n among this rank's words), 0 where it isn't one of them; and where it is. */
function ownPlaces(x_CV: Tensor, targets_C: Tensor, first: number): { places_C2: Tensor; mine_C: Tensor } {
  const { rows_N, mine_N } = ownRows(targets_C, x_CV.shape[1] as number, first);
  return { places_C2: placesOf(rows_N), mine_C: mine_N };
}
