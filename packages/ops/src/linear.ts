/**
 * y = x · Wᵀ, the layer where nearly all the arithmetic is.
 *
 * N tokens, I inputs, O outputs. The weight lies as PyTorch and Hugging Face keep it, [O, I]; a product reads an
 * operand transposed as fast as it is, so nothing is ever transposed in memory.
 *
 *   forward    y_NO  = x_NI · w_OIᵀ           2·N·I·O operations
 *   backward   dx_NI = dy_NO · w_OI           2·N·I·O
 *              dw_OI = dy_NOᵀ · x_NI          2·N·I·O      hence "6 N parameters" for a training step
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { matmul, share } from './kernels.ts';
import { type Layer, pullback } from './layer.ts';
import type { Parameter } from './parameter.ts';

export const linear =
  (w_OI: Parameter): Layer =>
  async (x_NI) => {
    const saved_NI = share(x_NI);
    const backward = (dy_NO: Tensor) => {
      const dx_NI = matmul(dy_NO, w_OI.value, 'nn');
      w_OI.accumulate(matmul(dy_NO, saved_NI, 'tn'));
      return dx_NI;
    };
    return [matmul(x_NI, w_OI.value, 'nt'), pullback([saved_NI], backward)];
  };
