/**
 * y = x · Wᵀ, the layer where nearly all the arithmetic is.
 *
 * N tokens, I inputs, O outputs. The weight lies as PyTorch and Hugging Face keep it, [O, I]; a product reads an
 * operand transposed as fast as it is, so nothing is ever transposed in memory.
 *
 *   forward    y_NO  = x_NI · w_OIᵀ           2·N·I·O operations
 *   backward   dx_NI = dy_NO · w_OI           2·N·I·O
 *              dw_OI = dy_NOᵀ · x_NI          2·N·I·O      hence "6 N parameters" for a training step
 *
 * Several weights of the same x are one product: of x and the stack of all their rows, whose y has the outputs of each
 * beside those of the others. A GPU is faster with one large product than with three, and dx comes out as one sum. An
 * optimizer keeps its weights together in memory, so that the stack costs nothing (runtime/src/together.ts).
 *
 * What a product is added to costs nothing on a GPU, where it does that itself (kernels.ts): the residual stream, the
 * other gradients by x, the weight's gradient so far.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { matmul, matmulInto, matmulOnto, parts, share, stack } from './kernels.ts';
import { type Layer, pullbackOnto } from './layer.ts';
import type { Parameter } from './parameter.ts';

/** x_NI to y_NO, O being the outputs of all weights together; `pull` accumulates each weight's gradient, dw_OI. */
export function linear(...weights_OI: Parameter[]): Layer {
  const pullback = (x_NI: Tensor) => {
    const saved_NI = share(x_NI);
    return pullbackOnto([saved_NI], (dy_NO: Tensor, base_NI?: Tensor) => {
      const dx_NI = tf.tidy(() => {
        const w_OI = stacked(weights_OI);
        return base_NI ? matmulOnto(base_NI, dy_NO, w_OI, 'nn') : matmul(dy_NO, w_OI, 'nn');
      });
      accumulateProduct(weights_OI, dy_NO, saved_NI);
      return dx_NI;
    });
  };
  const forward: Layer = async (x_NI) => [tf.tidy(() => matmul(x_NI, stacked(weights_OI), 'nt')), pullback(x_NI)];
  return Object.assign(forward, {
    onto: async (x_NI: Tensor, base_NO: Tensor): ReturnType<Layer> => [
      tf.tidy(() => matmulOnto(base_NO, x_NI, stacked(weights_OI), 'nt')),
      pullback(x_NI),
    ],
    again: async (x_NI: Tensor) => pullback(x_NI),
  });
}

/** The rows of all weights, [ΣO, I]: a new tensor, the caller's, in their own memory where they lie together. */
export const stacked = (weights_OI: readonly Parameter[]): Tensor => stack(weights_OI.map(({ value }) => value));

/** Adds dyᵀ · x, [ΣO, I], to the weights' gradients: one product for all, of which each weight gets its rows. */
export function accumulateProduct(weights_OI: readonly Parameter[], dy_NO: Tensor, x_NI: Tensor): void {
  const grads = weights_OI.flatMap(({ grad }) => (grad ? [grad] : []));
  const all = grads.length === weights_OI.length; // where some have none yet, the sums are taken one by one
  const before_OI = all ? stack(grads) : undefined;
  const sum_OI = matmulInto(before_OI, dy_NO, x_NI, 'tn', (weights_OI[0] as Parameter).gradDtype);
  const rows = parts(
    sum_OI,
    weights_OI.map(({ shape }) => shape[0] as number),
  );
  tf.dispose(before_OI ? [sum_OI, before_OI] : [sum_OI]);
  for (const [i, weight] of weights_OI.entries()) {
    const part = rows[i] as Tensor;
    if (all) weight.accumulateInto(() => part);
    else weight.accumulate(part);
  }
}
