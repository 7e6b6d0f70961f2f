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
 *
 * So forward must know what the loss counts for in the whole: the gradients come out of the products as they are
 * wanted, and nothing as large as w is multiplied by a number afterwards. The fused op writes the logits' gradient over
 * them.
 */
import { cast, type DType, dtypeOf, hasFusedOps, onTensorflow, onTensorflowCpu } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import * as fused from './fused.ts';
// biome-ignore format: a list
import {
  concat, exp, logSoftmax, matmul, matmulInto, mean, neg, pick, placesOf, put, reshape, scalar, scale, share, slice,
  sub,
} from './kernels.ts';
import { type Pullback, pullback } from './layer.ts';
import type { Parameter } from './parameter.ts';

/** What a call of the loss is to give. */
export interface LossOptions {
  /** Whether there will be a backward (default true): validation wants none, and says so before the work is done. */
  readonly gradients?: boolean;
  /** What the gradients are multiplied by (default 1): this loss's weight in the whole, 1 / gradAccSteps say. */
  readonly weight?: number;
}

/**
 * The mean loss in nats (a 0-d tensor, float32, whatever its weight) of x_ND against N targets (int32 of any shape,
 * below V), and its pullback, which accumulates dw_VD and returns dx_ND. Without gradients it can only be dropped.
 */
export type Loss = (
  x_ND: Tensor,
  targets: Tensor,
  options?: LossOptions,
) => Promise<[loss: Tensor, pull: Pullback<Tensor, void>]>;

/**
 * The losses of C tokens (float32) and, where gradients are wanted, that of their weighted sum by their logits: weight
 * times the softmax less 1 at the target, in any dtype.
 */
export interface TokenLosses {
  /** float32 [C]. */
  readonly losses_C: Tensor;
  /** [C, V], or with the vocabulary split [C, V/n]. */
  readonly dlogits_CV?: Tensor;
}

/** From logits_CV, which it takes over and which have the dtype of the weights, and int32 targets. */
export type SoftmaxLoss = (
  logits_CV: Tensor,
  targets_C: Tensor,
  options: Required<LossOptions>,
) => Promise<TokenLosses>;

/** How the loss is computed. */
export interface CrossEntropyOptions {
  /** Bytes that a chunk's logits may take, counted as float32; default: LOSS_CHUNK_BYTES of the device. */
  readonly chunkBytes?: number | undefined;
  /** Default: of logits that are all here. */
  readonly softmaxLoss?: SoftmaxLoss;
}

/**
 * The output's product and the loss in one: logits_NV = x_ND · wᵀ are there a chunk at a time, and never as a whole.
 */
export const crossEntropy =
  (w_VD: Parameter, { chunkBytes, softmaxLoss = wholeSoftmaxLoss }: CrossEntropyOptions = {}): Loss =>
  async (x_ND, targets, { gradients = true, weight = 1 } = {}) => {
    const N = targets.size;
    const targets_N = reshape(targets, [N]);
    const all: Results = { losses: [], dxs: [], dw: undefined };
    const chunks = lossChunks(N, w_VD.shape[0] as number, chunkBytes);
    const sumDtype = chunks.length > 1 ? 'float32' : w_VD.gradDtype;
    for (const [start, length] of chunks) {
      const [x_CD, targets_C] = [slice(x_ND, 0, start, length), slice(targets_N, 0, start, length)];
      const logits_CV = matmul(x_CD, w_VD.value, 'nt');
      const chunk = await softmaxLoss(logits_CV, targets_C, { gradients, weight: weight / N });
      all.losses.push(chunk.losses_C);
      if (chunk.dlogits_CV) addProducts(all, chunk.dlogits_CV, w_VD.value, x_CD, sumDtype);
      tf.dispose([x_CD, targets_C]);
    }
    targets_N.dispose();
    const loss = tf.tidy(() => mean(concat(all.losses, 0), 0));
    tf.dispose(all.losses);
    if (!gradients) return [loss, noGradients];
    const [dx_ND, dw_VD] = [concat(all.dxs, 0), all.dw as Tensor];
    tf.dispose(all.dxs);
    const backward = () => {
      w_VD.accumulate(share(dw_VD));
      return share(dx_ND);
    };
    return [loss, pullback([dx_ND, dw_VD], backward)];
  };

/** What a loss without gradients has for a pullback. */
const noGradients: Pullback<Tensor, void> = pullback([], () => {
  throw new Error('this loss was computed without gradients');
});

/** The loss of logits that are all here: one op, or stock kernels. */
const wholeSoftmaxLoss: SoftmaxLoss = async (logits_CV, targets_C, { gradients, weight }) => {
  if (!hasFusedOps(logits_CV)) return stockSoftmaxLoss(logits_CV, targets_C, gradients, weight);
  return lossOf(fused.crossEntropy(logits_CV, targets_C, gradients, weight), logits_CV, gradients);
};

/** What a fused op gives, which has written over the logits or, without gradients, has an empty second result. */
export function lossOf([losses_C, dlogits_CV]: [Tensor, Tensor], logits_CV: Tensor, gradients: boolean): TokenLosses {
  logits_CV.dispose();
  if (gradients) return { losses_C, dlogits_CV };
  dlogits_CV.dispose();
  return { losses_C };
}

/** In float32, and what is large is freed before the next large one is made. */
function stockSoftmaxLoss(logits_CV: Tensor, targets_C: Tensor, gradients: boolean, weight: number) {
  const wide_CV = cast(logits_CV, 'float32');
  logits_CV.dispose();
  return tf.tidy(() => {
    const places = placesOf(targets_C);
    const logP_CV = logSoftmax(wide_CV);
    wide_CV.dispose();
    const logPTarget_C = pick(logP_CV, places);
    const losses_C = neg(logPTarget_C);
    if (!gradients) return { losses_C };
    const p_CV = exp(logP_CV);
    logP_CV.dispose();
    const weighted_CV = scale(p_CV, weight);
    p_CV.dispose();
    const atTarget_C = scale(sub(exp(logPTarget_C), scalar(1)), weight);
    return { losses_C, dlogits_CV: put(weighted_CV, places, atTarget_C) };
  });
}

/** What the chunks so far have given: their losses_C and dx_CD, and the sum of their dw_VD. */
interface Results {
  readonly losses: Tensor[];
  readonly dxs: Tensor[];
  dw: Tensor | undefined;
}

/** Adds the two products of a chunk's dlogits_CV, which it frees. */
function addProducts(all: Results, dlogits_CV: Tensor, w_VD: Tensor, x_CD: Tensor, sumDtype: DType): void {
  const d_CV = cast(dlogits_CV, dtypeOf(w_VD));
  dlogits_CV.dispose();
  all.dxs.push(matmul(d_CV, w_VD));
  const before = all.dw;
  all.dw = matmulInto(before, d_CV, x_CD, 'tn', sumDtype);
  before?.dispose();
  d_CV.dispose();
}

// Of logits that are float32; those in bfloat16 take half. A GPU does a product at full speed only if it is large, and
// each chunk but the first reads and writes the whole of dw once more.
/** Bytes that the logits of a chunk may take, by device: 64 MiB without a GPU, 2 GiB on one. */
export const LOSS_CHUNK_BYTES = { cpu: 64 * 2 ** 20, gpu: 2 ** 31 };

/** [start, length] of chunks of N tokens, whose V logits each, as float32, fit the bytes; the last may be shorter. */
export function lossChunks(N: number, V: number, chunkBytes = defaultChunkBytes()): [start: number, length: number][] {
  const most = Math.max(1, Math.floor(chunkBytes / (4 * V)));
  const length = Math.ceil(N / Math.ceil(N / most));
  return Array.from({ length: Math.ceil(N / length) }, (_, i) => [i * length, Math.min(length, N - i * length)]);
}

/** By the device in use. */
const defaultChunkBytes = (): number => LOSS_CHUNK_BYTES[onTensorflow() && !onTensorflowCpu() ? 'gpu' : 'cpu'];
