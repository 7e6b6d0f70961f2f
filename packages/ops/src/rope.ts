/**
 * RoPE: a position is told by turning pairs of dimensions, the first pairs fast, the last ones slowly.
 *
 * Dimension i of the first half and dimension i of the second half of a head (Hugging Face's "rotate half") are turned
 * by the angle position · θ^(-2i/K):
 *
 *   y₁ = x₁ cos - x₂ sin            y = x · cos + swap(x) · sin±
 *   y₂ = x₂ cos + x₁ sin            with swap exchanging the halves, and sin± = [-sin, sin]
 *
 * The product of a turned q and a turned k then depends on the difference of their positions alone. Turning back is
 * turning by the negative angle: dx = dy · cos + swap(dy · sin±).
 *
 * Su et al., "RoFormer" (2021).
 */
import { cast, type DType, hasFusedOps } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import * as fused from './fused.ts';
import { add, mul, share, swapHalves } from './kernels.ts';
import { type Layer, pullback } from './layer.ts';

/** Llama 3's stretching of RoPE to contexts longer than it was first trained on. */
export interface Llama3Scaling {
  readonly factor: number;
  readonly lowFrequencyFactor: number;
  readonly highFrequencyFactor: number;
  readonly originalMaxPositions: number;
}

/**
 * The angle by which each pair turns from one position to the next: K/2 numbers.
 *
 * Llama 3 leaves pairs alone whose wave is short against the original context, slows those with long waves down by
 * `factor`, and blends between the two.
 */
export function ropeFrequencies(K: number, theta: number, scaling?: Llama3Scaling): Float64Array {
  return Float64Array.from({ length: K / 2 }, (_, i) => {
    const frequency = theta ** ((-2 * i) / K);
    if (!scaling) return frequency;
    const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalMaxPositions } = scaling;
    const turns = (originalMaxPositions * frequency) / (2 * Math.PI); // waves that fit the original context
    const blend = Math.min(1, Math.max(0, (turns - low) / (high - low)));
    return ((1 - blend) / factor + blend) * frequency;
  });
}

/** cos and sin± of each position, [T, K] each. */
export interface RopeTables {
  readonly cos_TK: Tensor;
  readonly sin_TK: Tensor;
}

/** The tables of any list of positions: a rank that holds another part of the sequence passes other ones. */
export function ropeTables(
  positions_T: ArrayLike<number>,
  frequencies: Float64Array,
  dtype: DType = 'float32',
): RopeTables {
  const [T, half] = [positions_T.length, frequencies.length];
  const cos = new Float32Array(T * 2 * half);
  const sin = new Float32Array(T * 2 * half);
  for (let t = 0; t < T; t++) {
    for (let i = 0; i < half; i++) {
      const angle = (positions_T[t] as number) * (frequencies[i] as number);
      const first = t * 2 * half + i;
      cos[first] = cos[first + half] = Math.cos(angle);
      sin[first + half] = Math.sin(angle);
      sin[first] = -Math.sin(angle);
    }
  }
  const table = (values: Float32Array) => tf.tidy(() => cast(tf.tensor2d(values, [T, 2 * half]), dtype));
  return { cos_TK: table(cos), sin_TK: table(sin) };
}

/** Turns x_BHTK; the tables stay the caller's. */
export const rope =
  ({ cos_TK, sin_TK }: RopeTables): Layer =>
  async (x_BHTK) => {
    const [cos, sin] = [share(cos_TK), share(sin_TK)];
    if (hasFusedOps(x_BHTK)) {
      const backward = (dy: Tensor) => fused.rope(dy, cos, sin, true);
      return [fused.rope(x_BHTK, cos, sin, false), pullback([cos, sin], backward)];
    }
    const y_BHTK = tf.tidy(() => add(mul(x_BHTK, cos_TK), mul(swapHalves(x_BHTK), sin_TK)));
    const backward = (dy: Tensor) => tf.tidy(() => add(mul(dy, cos), swapHalves(mul(dy, sin))));
    return [y_BHTK, pullback([cos, sin], backward)];
  };
