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

export const crossEntropy =
  (w_VD: Parameter, chunkBytes = CHUNK_BYTES): Loss =>
  async (x_ND, targets, { gradients = true } = {}) => {
    if (!gradients) return [crossEntropyLoss(w_VD.value, x_ND, targets, chunkBytes), noGradients];
    const N = targets.size;
    const targets_N = reshape(targets, [N]);
    const total: Sums = { loss: tf.scalar(0), dxs: [], dw: undefined };
    for (const [start, length] of chunksOf(N, chunkBytes / (4 * (w_VD.shape[0] as number))))
      addChunk(total, w_VD.value, slice(x_ND, 0, start, length), slice(targets_N, 0, start, length), N);
    const dx_ND = concat(total.dxs, 0);
    tf.dispose([targets_N, ...total.dxs]);
    const dw_VD = total.dw as Tensor;
    const backward = (weight: number) => {
      w_VD.accumulate(scale(dw_VD, weight));
      return scale(dx_ND, weight);
    };
    return [total.loss, pullback([dx_ND, dw_VD], backward)];
  };

/** What a loss without gradients returns for a pullback. */
export const noGradients: Pullback<Tensor, number> = pullback([], () => {
  throw new Error('this loss was computed without gradients');
});

/** The mean loss alone. */
function crossEntropyLoss(w_VD: Tensor, x_ND: Tensor, targets: Tensor, chunkBytes = CHUNK_BYTES): Tensor {
  return tf.tidy(() => {
    const N = targets.size;
    const targets_N = reshape(targets, [N]);
    return chunksOf(N, chunkBytes / (4 * (w_VD.shape[0] as number)))
      .map(([start, length]) =>
        tf.tidy(() => {
          const logP_CV = logProbabilities(w_VD, slice(x_ND, 0, start, length));
          return scale(sum(pick(logP_CV, placesOf(slice(targets_N, 0, start, length))), 0), -1 / N);
        }),
      )
      .reduce((a, b) => add(a, b));
  });
}

/** What has been added up over the chunks so far. */
interface Sums {
  loss: Tensor;
  dxs: Tensor[];
  dw: Tensor | undefined;
}

/** Adds the loss and gradients of one chunk of C tokens; frees x_CD and targets_C. */
function addChunk(total: Sums, w_VD: Tensor, x_CD: Tensor, targets_C: Tensor, N: number): void {
  const [loss, dx_CD, dw_VD] = tf.tidy(() => {
    const places_C2 = placesOf(targets_C);
    const logP_CV = logProbabilities(w_VD, x_CD);
    const logPTarget_C = pick(logP_CV, places_C2);
    const p_CV = exp(logP_CV);
    logP_CV.dispose(); // large: freed before the next large one is made
    const atTarget_C = sub(exp(logPTarget_C), tf.scalar(1));
    const dlogits_CV = cast(put(p_CV, places_C2, atTarget_C), dtypeOf(w_VD));
    p_CV.dispose();
    const dx = scale(matmul(dlogits_CV, w_VD), 1 / N);
    const dw = matmul(dlogits_CV, scale(x_CD, 1 / N), 'tn');
    return [
      add(total.loss, scale(sum(neg(logPTarget_C), 0), 1 / N)),
      dx,
      addTo(total.dw, cast(dw, 'float32')),
    ] as const;
  });
  tf.dispose([x_CD, targets_C, total.loss]);
  total.dw?.dispose();
  total.loss = loss;
  total.dw = dw_VD;
  total.dxs.push(dx_CD);
}

const addTo = (a: Tensor | undefined, b: Tensor): Tensor => (a ? add(a, b) : b);

/** log softmax(x · Wᵀ) in float32. */
function logProbabilities(w_VD: Tensor, x_CD: Tensor): Tensor {
  return tf.tidy(() => logSoftmax(cast(matmul(x_CD, w_VD, 'nt'), 'float32')));
}

/** The pairs (n, target_n), to address one element in each row. */
const placesOf = (targets_C: Tensor): Tensor =>
  tf.tidy(() => tf.stack([tf.range(0, targets_C.size, 1, 'int32'), targets_C], 1));

/** [start, length] of chunks of at most `most` tokens (at least 1), all but the last equally long. */
export function chunksOf(N: number, most: number): [start: number, length: number][] {
  const count = Math.ceil(N / Math.max(1, Math.floor(most)));
  const length = Math.ceil(N / count);
  return Array.from({ length: Math.ceil(N / length) }, (_, i) => [i * length, Math.min(length, N - i * length)]);
}
