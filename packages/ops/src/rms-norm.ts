/**
 * RMSNorm: every token's vector brought to length sqrt(D), then scaled by a learnt weight per dimension.
 *
 *   r = 1 / sqrt(mean(x²) + ε)        one number a token
 *   x̂ = x · r
 *   y = x̂ · w
 *
 * Backward, with g = dy · w the gradient by x̂. Because r shrinks when x grows, the part of g that points along x̂ has
 * no effect, and is taken out:
 *
 *   dx = r · (g - x̂ · mean(g · x̂))
 *   dw = Σ_n dy · x̂
 *
 * Zhang and Sennrich, "Root mean square layer normalization" (2019). With bfloat16 weights the norm itself is still
 * computed in float32.
 */
import { cast, dtypeOf, onTensorflowCpu } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import * as fused from './fused.ts';
import { add, matmul, mean, mul, reshape, rsqrt, scalar, scale, square, sub, sum } from './kernels.ts';
import { type Layer, pullback } from './layer.ts';
import type { Parameter } from './parameter.ts';

export const rmsNorm =
  (w_D: Parameter, epsilon: number): Layer =>
  (x_ND) =>
    (onTensorflowCpu() ? fusedRmsNorm : stockRmsNorm)(w_D, epsilon)(x_ND);

const stockRmsNorm =
  (w_D: Parameter, epsilon: number): Layer =>
  async (x_ND) => {
    const dtype = dtypeOf(x_ND);
    const [y_ND, xHat_ND, r_N1] = tf.tidy(() => {
      const wide_ND = cast(x_ND, 'float32');
      const r = rsqrt(add(mean(square(wide_ND), 1, true), scalar(epsilon)));
      const xHat = mul(wide_ND, r);
      return [cast(mul(xHat, cast(w_D.value, 'float32')), dtype), xHat, r] as const;
    });
    const backward = (dy_ND: Tensor) => {
      const [dx_ND, dw_D] = tf.tidy(() => {
        const dy = cast(dy_ND, 'float32');
        const w = cast(w_D.value, 'float32');
        const dyXHat = mul(dy, xHat_ND);
        // mean(g · x̂), as a product with w
        const along_N1 = scale(matmul(dyXHat, reshape(w, [w.size, 1])), 1 / w.size);
        const dx = mul(r_N1, sub(mul(dy, w), mul(xHat_ND, along_N1)));
        return [cast(dx, dtype), sum(dyXHat, 0)] as const;
      });
      w_D.accumulate(dw_D);
      return dx_ND;
    };
    return [y_ND, pullback([xHat_ND, r_N1], backward)];
  };

/** The same in one op forward and one backward, which needs x and r alone. */
const fusedRmsNorm =
  (w_D: Parameter, epsilon: number): Layer =>
  async (x_ND) => {
    const dtype = dtypeOf(x_ND);
    const wide_ND = cast(x_ND, 'float32');
    const [y_ND, r_N] = tf.tidy(() => {
      const [y, r] = fused.rmsNorm(wide_ND, cast(w_D.value, 'float32'), epsilon);
      return [cast(y, dtype), r] as const;
    });
    const backward = (dy_ND: Tensor) => {
      const [dx_ND, dw_D] = tf.tidy(() => {
        const [dx, dw] = fused.rmsNormGrad(cast(dy_ND, 'float32'), wide_ND, cast(w_D.value, 'float32'), r_N);
        return [cast(dx, dtype), dw] as const;
      });
      w_D.accumulate(dw_D);
      return dx_ND;
    };
    return [y_ND, pullback([wide_ND, r_N], backward)];
  };
