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
 * The norm begins a branch beside the residual stream (layer.ts), whose gradient dx is added to: `pull.onto(dy, base)`
 * does both at once.
 *
 * Zhang and Sennrich, "Root mean square layer normalization" (2019). With bfloat16 weights the norm itself is still
 * computed in float32.
 */
import { cast, dtypeOf, hasFusedOps } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import * as fused from './fused.ts';
import { add, matmul, mean, mul, reshape, rsqrt, scalar, scale, share, square, sub, sum } from './kernels.ts';
import { type PullbackOnto, pullbackOnto } from './layer.ts';
import type { Parameter } from './parameter.ts';

/** The norm of x_ND by the weights w_D, ε being `epsilon`; `pull` accumulates dw_D and returns dx_ND. */
export const rmsNorm =
  (w_D: Parameter, epsilon: number) =>
  async (x_ND: Tensor): Promise<[y_ND: Tensor, pull: PullbackOnto]> => {
    const dtype = dtypeOf(x_ND);
    const inner = hasFusedOps(x_ND) ? dtype : 'float32';
    const x = cast(x_ND, inner);
    const { forward, backward } = hasFusedOps(x) ? fusedOps : stockKernels;
    const [y_ND, ...saved] = tf.tidy(() => {
      const [y, ...kept] = forward(x, cast(w_D.value, inner), epsilon);
      return [cast(y, dtype), ...kept] as const;
    });
    x.dispose();
    const gradient = (dy_ND: Tensor, base_ND?: Tensor) => {
      const [dx_ND, dw_D] = tf.tidy(() => {
        const base = base_ND && cast(base_ND, inner);
        const [dx, dw] = backward(cast(dy_ND, inner), saved, cast(w_D.value, inner), base);
        return [cast(dx, dtype), dw] as const;
      });
      w_D.accumulate(dw_D);
      return dx_ND;
    };
    return [y_ND, pullbackOnto(saved, gradient)];
  };

/** Two ways to compute it, of which each keeps two tensors for backward. */
interface Norm {
  forward(x_ND: Tensor, w_D: Tensor, epsilon: number): [y_ND: Tensor, Tensor, Tensor];
  backward(dy_ND: Tensor, kept: [Tensor, Tensor], w_D: Tensor, base_ND?: Tensor): [dx_ND: Tensor, dw_D: Tensor];
}

/** The equations at the top, an op for each sign in them. It keeps x̂ and r. */
const stockKernels: Norm = {
  forward: (x_ND, w_D, epsilon) => {
    const r_N1 = rsqrt(add(mean(square(x_ND), 1, true), scalar(epsilon)));
    const xHat_ND = mul(x_ND, r_N1);
    return [mul(xHat_ND, w_D), xHat_ND, r_N1];
  },
  backward: (dy_ND, [xHat_ND, r_N1], w_D, base_ND) => {
    const dyXHat_ND = mul(dy_ND, xHat_ND);
    // mean(g · x̂), as a product with w
    const along_N1 = scale(matmul(dyXHat_ND, reshape(w_D, [w_D.size, 1])), 1 / w_D.size);
    const dx_ND = mul(r_N1, sub(mul(dy_ND, w_D), mul(xHat_ND, along_N1)));
    return [base_ND ? add(base_ND, dx_ND) : dx_ND, sum(dyXHat_ND, 0)];
  },
};

/** One op forward and one backward, which needs x and r alone; they add up in float32 whatever the dtype. */
const fusedOps: Norm = {
  forward: (x_ND, w_D, epsilon) => {
    const [y_ND, r_N] = fused.rmsNorm(x_ND, w_D, epsilon);
    return [y_ND, share(x_ND), r_N];
  },
  backward: (dy_ND, [x_ND, r_N], w_D, base_ND) => fused.rmsNormGrad(dy_ND, x_ND, w_D, r_N, base_ND),
};
