/**
 * x_n = row ids_n of a table: where tokens become vectors.
 *
 * Forward copies N rows of V. Backward adds the gradient of each token to its row; a token that occurs twice in the
 * batch gets the sum, one that doesn't occur gets zero. There is no gradient by the ids.
 *
 * The sums are float32: adding ones in bfloat16 stops at 256, and a batch may hold a token more often than that. The
 * fused op adds to the N rows in the table's gradient and leaves the others alone; the stock kernels make a table of
 * sums, which is then added.
 */
import { cast, hasFusedOps } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import * as fused from './fused.ts';
import { addRows, reshape, share, takeRows } from './kernels.ts';
import { type Pullback, pullback } from './layer.ts';
import type { Parameter } from './parameter.ts';

/** ids: int32, any shape of N elements, all below V (data checks that). Returns [N, D]. */
export type Embedding = (ids: Tensor) => Promise<[x_ND: Tensor, pull: Pullback<void>]>;

export const embedding =
  (table_VD: Parameter): Embedding =>
  async (ids) => {
    const ids_N = ids.rank === 1 ? share(ids) : reshape(ids, [ids.size]);
    const backward = (dx_ND: Tensor) => addGradient(table_VD, dx_ND, ids_N);
    return [tf.tidy(() => takeRows(table_VD.value, ids_N)), pullback([ids_N], backward)];
  };

function addGradient(table_VD: Parameter, dx_ND: Tensor, ids_N: Tensor): void {
  const [V, D] = table_VD.shape as [number, number];
  if (hasFusedOps(dx_ND)) {
    table_VD.accumulateInto((grad) => tf.tidy(() => fused.embeddingGrad(dx_ND, ids_N, grad ?? tf.fill([V, D], 0))));
    return;
  }
  const wide_ND = cast(dx_ND, 'float32');
  table_VD.accumulate(addRows(wide_ND, ids_N, V));
  wide_ND.dispose();
}
