/** Weights to be replaced. */
import type { Initialize } from '@fourfold/model';
import { zeros } from '@fourfold/runtime';

/** Instead of drawing weights that a checkpoint is going to replace. */
export const zeroWeights: Initialize = ({ fullShape, shard }) =>
  zeros(fullShape.map((side, axis) => (axis === shard?.axis ? side / shard.of : side)));
