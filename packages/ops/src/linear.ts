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
 * What a product is added to costs nothing on a GPU, where it does that itself (kernels.ts): the residual stream, the
 * other gradients by x, the weight's gradient so far.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { matmul, matmulInto, matmulOnto, share } from './kernels.ts';
import { type Layer, pullbackOnto } from './layer.ts';
import type { Parameter } from './parameter.ts';

export function linear(w_OI: Parameter): Layer {
  const pullback = (x_NI: Tensor) => {
    const saved_NI = share(x_NI);
    return pullbackOnto([saved_NI], (dy_NO: Tensor, base_NI?: Tensor) => {
      const dx_NI = base_NI ? matmulOnto(base_NI, dy_NO, w_OI.value, 'nn') : matmul(dy_NO, w_OI.value, 'nn');
      w_OI.accumulateInto((grad) => matmulInto(grad, dy_NO, saved_NI, 'tn'));
      return dx_NI;
    });
  };
  const forward: Layer = async (x_NI) => [matmul(x_NI, w_OI.value, 'nt'), pullback(x_NI)];
  return Object.assign(forward, {
    onto: async (x_NI: Tensor, base_NO: Tensor): ReturnType<Layer> => [
      matmulOnto(base_NO, x_NI, w_OI.value, 'nt'),
      pullback(x_NI),
    ],
  });
}
