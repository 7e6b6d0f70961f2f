/**
 * The ranks that share a model, as one of them sees them: what it must add up with the others.
 *
 *     x_ND + part of rank 0 + part of rank 1 + ...      the same bits on every rank
 */
import { kernels } from '@fourfold/ops';
import type { ProcessGroup } from '@fourfold/process-group';
import type { Tensor } from '@tensorflow/tfjs-core';

/** The ranks that share a model, as one of them sees them. */
export interface Ranks {
  /** This rank, from 0. */
  readonly rank: number;
  /** How many they are. */
  readonly size: number;
  /**
   * The sum of all ranks' parts, float32 [N, D], onto a tensor that every rank has; all ranks call it in the same
   * order. The inputs stay the caller's, and so is the result.
   */
  sum(part_ND: Tensor, onto_ND: Tensor | undefined): Promise<Tensor>;
  /**
   * Present where an op can sum by itself, over lanes: calls `run` with their number, and gives what a lost rank makes
   * of it the rank's name. undefined: there is nobody to sum with.
   */
  within?<R>(run: (lanes: number | undefined) => R): R;
}

/** A rank that has the model to itself: there is nothing to add. */
export const ALONE: Ranks = {
  rank: 0,
  size: 1,
  sum: async (part_ND, onto_ND) => (onto_ND ? kernels.add(onto_ND, part_ND) : kernels.share(part_ND)),
  within: (run) => run(undefined),
};

/** The ranks of a process group. */
export function ranksOf(group: ProcessGroup): Ranks {
  if (group.size === 1) return ALONE;
  return {
    rank: group.rank,
    size: group.size,
    async sum(part_ND, onto_ND) {
      const sum_ND = await group.allReduce(part_ND);
      if (!onto_ND) return sum_ND;
      const y_ND = kernels.add(onto_ND, sum_ND);
      sum_ND.dispose();
      return y_ND;
    },
  };
}
