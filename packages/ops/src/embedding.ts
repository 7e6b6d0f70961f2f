/**
 * x_n = row ids_n of a table: where tokens become vectors.
 *
 * Forward copies N rows of V. Backward adds the gradient of each token to its row; a token that occurs twice in the
 * batch gets the sum, one that doesn't occur gets zero. There is no gradient by the ids.
 *
 * A rank may have some of the words alone (a shard along axis 0). Then x is 0 for those of others, and the sum of all
 * ranks' x is each token's row; in backward their gradients are passed over. A fused op does so as it copies. Stock
 * kernels take row 0 for them, and multiply by 0.
 *
 * The sums are float32: adding ones in bfloat16 stops at 256, and a batch may hold a token more often than that. The
 * fused op adds to the N rows in the table's gradient and leaves the others alone; the stock kernels make a table of
 * sums, which is then added.
 */
import { cast, dtypeOf, hasFusedOps, zeros } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import * as fused from './fused.ts';
import { addRows, mul, reshape, share, takeRows } from './kernels.ts';
import { type Pullback, pullback } from './layer.ts';
import type { Parameter } from './parameter.ts';

/**
 * ids: int32, any shape of N elements, all below V (data checks that). Returns [N, D], or with sequence parallelism the
 * [N / tp, D] of this rank's tokens; the pullback adds to the table's gradient.
 */
export type Embedding = (ids: Tensor) => Promise<[x_ND: Tensor, pull: Pullback<void>]>;

/** The embedding of a table [V, D], or of this rank's rows of it. */
export const embedding =
  (table_VD: Parameter): Embedding =>
  async (ids) => {
    const ids_N = ids.rank === 1 ? share(ids) : reshape(ids, [ids.size]);
    const backward = (dx_ND: Tensor) => addGradient(table_VD, dx_ND, ids_N);
    return [rowsOf(table_VD, ids_N), pullback([ids_N], backward)];
  };

/** The words that a rank has a row for: `first` and on, of `words` in all. */
export interface Words {
  /** The id of its first row. */
  readonly first: number;
  /** V, of the whole table. */
  readonly words: number;
}

/** Those of a table or of the head's weight, [V, D] or a shard of its rows. */
export function wordsOf({ fullShape: [words = 0], shape: [rows = 0], shard }: Parameter): Words {
  return { first: shard?.axis === 0 ? shard.index * rows : 0, words };
}

/** Forward: x_ND, zero in the rows of tokens that another rank has. */
function rowsOf(table_VD: Parameter, ids_N: Tensor): Tensor {
  const { value } = table_VD;
  if (hasFusedOps(value)) return fused.embedding(value, ids_N, wordsOf(table_VD));
  if (!table_VD.shard) return takeRows(value, ids_N);
  return tf.tidy(() => {
    const { rows_N, mine_N } = ownRows(ids_N, table_VD.shape[0] as number, wordsOf(table_VD).first);
    return onlyMine(takeRows(value, rows_N), mine_N);
  });
}

/** Backward: dx_ND added to the rows of the table's gradient, [V, D], in float32 or the gradient's dtype. */
function addGradient(table_VD: Parameter, dx_ND: Tensor, ids_N: Tensor): void {
  const [V, D] = table_VD.shape as [number, number];
  const { first } = wordsOf(table_VD);
  if (hasFusedOps(dx_ND)) {
    const add = (grad = cast(zeros([V, D]), table_VD.gradDtype)) => fused.embeddingGrad(dx_ND, ids_N, grad, first);
    table_VD.accumulateInto((grad) => tf.tidy(() => add(grad)));
    return;
  }
  const sums_VD = tf.tidy(() => {
    const wide_ND = cast(dx_ND, 'float32');
    if (!table_VD.shard) return addRows(wide_ND, ids_N, V);
    const { rows_N, mine_N } = ownRows(ids_N, V, first);
    return addRows(onlyMine(wide_ND, mine_N), rows_N, V);
  });
  table_VD.accumulate(sums_VD);
}

// ## In stock kernels

/** Where ids are among `count` rows from id `first` on, 0 for those that aren't among them; and which are, as bools. */
export function ownRows(ids_N: Tensor, count: number, first: number): { rows_N: Tensor; mine_N: Tensor } {
  const rows_N = tf.sub(ids_N, tf.scalar(first, 'int32'));
  const mine_N = tf.logicalAnd(tf.greaterEqual(rows_N, 0), tf.less(rows_N, count));
  return { rows_N: tf.mul(rows_N, tf.cast(mine_N, 'int32')), mine_N };
}

/** x_ND with zeros in the rows that aren't this rank's. */
const onlyMine = (x_ND: Tensor, mine_N: Tensor): Tensor => mul(x_ND, cast(tf.expandDims(mine_N, 1), dtypeOf(x_ND)));
