/**
 * The last layer and the loss: how surprised the model is by the token that really came next.
 *
 *   logits_NV = x_ND · w_VDᵀ
 *   loss      = mean over n of -log softmax(logits_n)[target_n]
 *
 * Its gradient by the logits is the softmax, less 1 at the target, over N. With V = 49,152 words the logits of 8,192
 * tokens are 1.6 GB, so they never exist at once: tokens go in chunks, and each chunk's logits give its part of the
 * loss, of dx and of dw before the next chunk's are computed. That is why forward does backward's work here, and the
 * pullback has nothing left to do but hand it over. Targets are integers; there is no one-hot matrix.
 */
import { cast, dtypeOf } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { add, concat, exp, logSoftmax, matmul, neg, pick, put, reshape, scale, slice, sub, sum } from './kernels.ts';
import { type Pullback, pullback } from './layer.ts';
import type { Parameter } from './parameter.ts';

/** Bytes that one chunk's logits may take by default. */
const CHUNK_BYTES = 64 * 2 ** 20;

/**
 * The mean loss (a 0-d tensor) of x_ND against N targets (int32 of any shape, below V), and its pullback.
 *
 * The pullback takes the weight of this loss in the whole (1 / gradAccSteps, say) and returns dx_ND. Whoever wants none
 * (validation) says `gradients: false` before the work is done.
 */
export type Loss = (
  x_ND: Tensor,
  targets: Tensor,
  options?: { readonly gradients?: boolean },
) => Promise<[loss: Tensor, pull: Pullback<Tensor, number>]>;

/**
 * The summed loss of C tokens and its gradient by their logits (softmax, less 1 at the target). Takes logits_CV over,
 * which are float32; where no gradients are wanted, returns none.
 */
export type SoftmaxLoss = (
  logits_CV: Tensor,
  targets_C: Tensor,
  gradients: boolean,
) => Promise<{ readonly loss: Tensor; readonly dlogits_CV?: Tensor }>;

export interface CrossEntropyOptions {
  readonly chunkBytes?: number | undefined;
  /** Default: of logits that are all here. */
  readonly softmaxLoss?: SoftmaxLoss;
}

export const crossEntropy =
  (w_VD: Parameter, { chunkBytes = CHUNK_BYTES, softmaxLoss = wholeSoftmaxLoss }: CrossEntropyOptions = {}): Loss =>
  async (x_ND, targets, { gradients = true } = {}) => {
    const N = targets.size;
    const targets_N = reshape(targets, [N]);
    const total: Sums = { loss: tf.scalar(0), dxs: [], dw: undefined };
    for (const [start, length] of lossChunks(N, w_VD.shape[0] as number, chunkBytes)) {
      const [x_CD, targets_C] = [slice(x_ND, 0, start, length), slice(targets_N, 0, start, length)];
      const logits_CV = tf.tidy(() => cast(matmul(x_CD, w_VD.value, 'nt'), 'float32'));
      addChunk(total, w_VD.value, x_CD, await softmaxLoss(logits_CV, targets_C, gradients), N);
      tf.dispose([x_CD, targets_C]);
    }
    targets_N.dispose();
    if (!gradients) return [total.loss, noGradients];
    const dx_ND = concat(total.dxs, 0);
    tf.dispose(total.dxs);
    const dw_VD = total.dw as Tensor;
    const backward = (weight: number) => {
      w_VD.accumulate(scale(dw_VD, weight));
      return scale(dx_ND, weight);
    };
    return [total.loss, pullback([dx_ND, dw_VD], backward)];
  };

/** What a loss without gradients has for a pullback. */
const noGradients: Pullback<Tensor, number> = pullback([], () => {
  throw new Error('this loss was computed without gradients');
});

const wholeSoftmaxLoss: SoftmaxLoss = async (logits_CV, targets_C, gradients) =>
  tf.tidy(() => {
    const places_C2 = placesOf(targets_C);
    const logP_CV = logSoftmax(logits_CV);
    logits_CV.dispose(); // large: freed before the next large one is made
    const logPTarget_C = pick(logP_CV, places_C2);
    const loss = sum(neg(logPTarget_C), 0);
    if (!gradients) return { loss };
    const p_CV = exp(logP_CV);
    logP_CV.dispose();
    return { loss, dlogits_CV: put(p_CV, places_C2, sub(exp(logPTarget_C), tf.scalar(1))) };
  });

/** What has been added up over the chunks so far. */
interface Sums {
  loss: Tensor;
  dxs: Tensor[];
  dw: Tensor | undefined;
}

/** Adds the mean's share of one chunk of C tokens, whose summed loss and dlogits it frees. */
function addChunk(total: Sums, w_VD: Tensor, x_CD: Tensor, chunk: Awaited<ReturnType<SoftmaxLoss>>, N: number): void {
  const before = [total.loss, chunk.loss];
  total.loss = tf.tidy(() => add(total.loss, scale(chunk.loss, 1 / N)));
  tf.dispose(before);
  if (!chunk.dlogits_CV) return;
  const dlogits_CV = cast(chunk.dlogits_CV, dtypeOf(w_VD));
  chunk.dlogits_CV.dispose();
  total.dxs.push(tf.tidy(() => scale(matmul(dlogits_CV, w_VD), 1 / N)));
  const dw_VD = tf.tidy(() => {
    const dw = cast(matmul(dlogits_CV, scale(x_CD, 1 / N), 'tn'), 'float32');
    return total.dw ? add(total.dw, dw) : dw;
  });
  tf.dispose([dlogits_CV, ...(total.dw ? [total.dw] : [])]);
  total.dw = dw_VD;
}

/** The pairs (n, target_n), to address one element in each row. */
export const placesOf = (targets_C: Tensor): Tensor =>
  tf.tidy(() => tf.stack([tf.range(0, targets_C.size, 1, 'int32'), targets_C], 1));

/** [start, length] of chunks of N tokens, whose logits, V each, fit into the bytes; all but the last equally long. */
export function lossChunks(N: number, V: number, chunkBytes = CHUNK_BYTES): [start: number, length: number][] {
  const most = Math.max(1, Math.floor(chunkBytes / (4 * V)));
  const length = Math.ceil(N / Math.ceil(N / most));
  return Array.from({ length: Math.ceil(N / length) }, (_, i) => [i * length, Math.min(length, N - i * length)]);
}
