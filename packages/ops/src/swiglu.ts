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
import { add, mul, share, sigmoid, sigmoidGrad } from './kernels.ts';
import { type Layer, pullback } from './layer.ts';

/** [gate_NF, up_NF] to y_NF. */
export const swiglu: Layer<readonly Tensor[]> = async (inputs) => {
  const [gate_NF, up_NF] = inputs.map(share) as [Tensor, Tensor];
  if (hasFusedOps(gate_NF)) {
    const backward = (dy_NF: Tensor): readonly Tensor[] => fused.swigluGrad(dy_NF, gate_NF, up_NF);
    return [fused.swiglu(gate_NF, up_NF), pullback([gate_NF, up_NF], backward)];
  }
  const [y_NF, s_NF, a_NF] = tf.tidy(() => {
    const s = sigmoid(gate_NF);
    const a = mul(gate_NF, s);
    return [mul(a, up_NF), s, a] as const;
  });
  const backward = (dy_NF: Tensor): readonly Tensor[] =>
    tf.tidy(() => {
      const da = mul(dy_NF, up_NF);
      const dgate = add(mul(da, s_NF), mul(gate_NF, sigmoidGrad(s_NF, da)));
      return [dgate, mul(dy_NF, a_NF)];
    });
  return [y_NF, pullback([gate_NF, up_NF, s_NF, a_NF], backward)];
};
