/**
 * A part added to a whole where it lies: the attention that a block of keys gives some queries, and its gradients, onto
 * those of the blocks before (the equations stand at the head of context-parallel.ts).
 *
 * A fused op reads the part and writes over the whole, at the part's places along time alone. In stock kernels the part
 * is padded with zeros to the whole, and their sum is a new tensor. Both take whole and part over; of the whole there
 * must be no other holder, who would see it change or not.
 *
 * Wholes are float32, since many parts are added up in them; a part has the dtype of the layer.
 */
import { cast, hasFusedOps } from '@fourfold/runtime';
import { pad } from '@fourfold/runtime/shapes';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import * as fused from './fused.ts';
import { add, mul, sigmoid, slice, softplus, sub, transpose } from './kernels.ts';

/** Of some queries over some keys (see attention-block.ts): their mean of the values, and log Σ exp(scores). */
export type Attention = [o_BTHK: Tensor, lse_BHT: Tensor];

/** The attention over all keys of `whole` and of `part`, whose queries are those from `start` on. Takes both over. */
export function mergeAttention(whole: Attention, part: Attention, start: number): Attention {
  const merge = hasFusedOps(part[0]) ? fused.mergeAttention : stockMerge;
  const merged = merge(whole, part, start);
  tf.dispose([...whole, ...part]);
  return merged;
}

/** sum_BT, float32, with part_BQ added to places `start` and on along axis 1; more axes may follow. Takes both over. */
export function addAt(sum_BT: Tensor, part_BQ: Tensor, start: number): Tensor {
  const addPart = hasFusedOps(part_BQ) ? fused.addAt : stockAdd;
  const sum = addPart(sum_BT, part_BQ, start);
  tf.dispose([sum_BT, part_BQ]);
  return sum;
}

// ## In stock kernels

/** The equations at the top, on copies. */
const stockMerge = (whole: Attention, [part_BQHK, lse_BHQ]: Attention, start: number): Attention =>
  tf.tidy(() => {
    const [o_BTHK, lse_BHT] = whole;
    const Q = part_BQHK.shape[1] as number;
    const difference_BHQ = sub(lse_BHQ, slice(lse_BHT, 2, start, Q));
    const weight_BQH1 = tf.expandDims(transpose(sigmoid(difference_BHQ), [0, 2, 1]), 3);
    const more_BQHK = mul(weight_BQH1, sub(cast(part_BQHK, 'float32'), slice(o_BTHK, 1, start, Q)));
    return [stockAdd(o_BTHK, more_BQHK, start), stockAdd(lse_BHT, softplus(difference_BHQ), start, 2)];
  });

/** The part with zeros before and after it, so that it can be added as a whole. */
const stockAdd = (sum: Tensor, part: Tensor, start: number, axis = 1): Tensor =>
  tf.tidy(() => {
    const after = (sum.shape[axis] as number) - start - (part.shape[axis] as number);
    const wide = cast(part, 'float32');
    return add(sum, start + after === 0 ? wide : pad(wide, axis, start, after));
  });
