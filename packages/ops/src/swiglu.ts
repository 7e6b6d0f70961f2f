/**
 * SwiGLU: the gate decides, smoothly, how much of `up` passes.
 *
 *   s = sigmoid(gate),  a = gate · s  ("silu"),  y = a · up
 *
 * Backward:
 *
 *   dup   = dy · a
 *   dgate = da · (s + gate · s · (1 - s))   with da = dy · up
 *
 * Shazeer, "GLU variants improve transformer" (2020).
 */
import { hasFusedOps } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import * as fused from './fused.ts';
import { add, concat, mul, share, sigmoid, sigmoidGrad, slice } from './kernels.ts';
import { type Layer, pullback } from './layer.ts';

/** x_N2F, each row the F numbers of gate and then those of up, to y_NF. */
export const swiglu: Layer = async (x_N2F) => {
  if (!hasFusedOps(x_N2F)) return stockSwiglu(x_N2F);
  const saved_N2F = share(x_N2F);
  return [fused.swiglu(x_N2F), pullback([saved_N2F], (dy_NF: Tensor) => fused.swigluGrad(dy_NF, saved_N2F))];
};

/** The same in stock kernels, which keep gate, up, s and a: 4 N·F numbers, where the fused op keeps the 2 N·F of x. */
function stockSwiglu(x_N2F: Tensor): Awaited<ReturnType<Layer>> {
  const F = (x_N2F.shape[1] as number) / 2;
  const [gate_NF, up_NF] = [slice(x_N2F, 1, 0, F), slice(x_N2F, 1, F, F)];
  const [y_NF, s_NF, a_NF] = tf.tidy(() => {
    const s = sigmoid(gate_NF);
    const a = mul(gate_NF, s);
    return [mul(a, up_NF), s, a] as const;
  });
  const backward = (dy_NF: Tensor) =>
    tf.tidy(() => {
      const da = mul(dy_NF, up_NF);
      const dgate = add(mul(da, s_NF), mul(gate_NF, sigmoidGrad(s_NF, da)));
      return concat([dgate, mul(dy_NF, a_NF)], 1);
    });
  return [y_NF, pullback([gate_NF, up_NF, s_NF, a_NF], backward)];
}
