/**
 * x_n = row ids_n of a table: where tokens become vectors.
 *
 * Forward copies N rows of V. Backward adds the gradient of each token to its row; a token that occurs twice in the
 * batch gets the sum, one that doesn't occur gets zero. There is no gradient by the ids.
 */
import { cast } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { addRows, reshape, share, takeRows } from './kernels.ts';
import { type Pullback, pullback } from './layer.ts';
import type { Parameter } from './parameter.ts';

/** ids: int32, any shape of N elements, all below V (data checks that). Returns [N, D]. */
export type Embedding = (ids: Tensor) => Promise<[x_ND: Tensor, pull: Pullback<void>]>;

export const embedding =
  (table_VD: Parameter): Embedding =>
  async (ids) => {
    const ids_N = ids.rank === 1 ? share(ids) : reshape(ids, [ids.size]);
    const backward = (dx_ND: Tensor) => {
      // In float32: adding ones in bfloat16 stops at 256, and a batch may hold a token more often than that.
      const wide_ND = cast(dx_ND, 'float32');
      table_VD.accumulate(addRows(wide_ND, ids_N, table_VD.shape[0] as number));
      wide_ND.dispose();
    };
    return [tf.tidy(() => takeRows(table_VD.value, ids_N)), pullback([ids_N], backward)];
  };
