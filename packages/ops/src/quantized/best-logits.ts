/**
 * What a sampler needs of logits: the k largest and the logarithm of the sum over all, in one pass over the row. So
 * ranks that have parts of the words send each other k numbers, not V/n.
 */
import { attr, executeMany } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { hasPackedOps } from './packed.ts';

/** The likeliest tokens of each row. */
export interface BestLogits {
  /** int32 [N, k], likeliest first, of equal ones the lower id. */
  readonly ids_NK: Tensor;
  /** float32 [N, k], their logits. */
  readonly values_NK: Tensor;
  /** float32 [N], log Σ exp(logit) over the row. */
  readonly logSumExp_N: Tensor;
}

/** Of logits_NV, float32; k from 1 to V. NaN counts as float32's lowest, above -∞ alone, and makes logSumExp NaN. */
export function bestLogits(logits_NV: Tensor, k: number): BestLogits {
  const [ids_NK, values_NK, logSumExp_N] = hasPackedOps()
    ? executeMany('FourfoldBestLogits', [logits_NV], [attr.int('k', k)], 3)
    : stockBest(logits_NV, k);
  return { ids_NK, values_NK, logSumExp_N } as BestLogits;
}

/** The same by sorting, which takes V log V comparisons a row. */
function stockBest(logits_NV: Tensor, k: number): Tensor[] {
  const [N, V] = logits_NV.shape as [number, number];
  const values = logits_NV.dataSync() as Float32Array;
  const valueAt = (n: number, v: number) => {
    const value = values[n * V + v] as number;
    return Number.isNaN(value) ? -3.4028234663852886e38 : value;
  };
  const ids = Array.from({ length: N }, (_, n) =>
    Array.from({ length: V }, (_, v) => v)
      .sort((a, b) => valueAt(n, b) - valueAt(n, a) || a - b)
      .slice(0, k),
  );
  const best = ids.flatMap((row, n) => row.map((v) => values[n * V + v] as number));
  return [tf.tensor(ids.flat(), [N, k], 'int32'), tf.tensor(best, [N, k]), tf.logSumExp(logits_NV, 1)];
}
