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
import { cast, constant, dtypeOf, hasFusedOps, isSole } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import * as fused from './fused.ts';
import { add, concat, mul, reshape, share, slice, swapHalves } from './kernels.ts';
import { type Layer, type Pullback, pullback } from './layer.ts';

/** Llama 3.1's stretching of RoPE to contexts longer than it was first trained on (transformers: `llama3`). */
export interface Llama3Scaling {
  /** By how much long waves are slowed down. */
  readonly factor: number;
  /** Waves that fit the original context fewer times than this are slowed down wholly. */
  readonly lowFrequencyFactor: number;
  /** Waves that fit it more often than this are left alone. */
  readonly highFrequencyFactor: number;
  /** The original context, in tokens. */
  readonly originalMaxPositions: number;
}

/**
 * The angle, in radians, by which each pair turns from one position to the next: K/2 numbers.
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

/** cos and sin± of each position, [T, K] each, float32. */
export interface RopeTables {
  /** Cosines, float32 [T, K]. */
  readonly cos_TK: Tensor;
  /** Sines, negative in the first half of the K dimensions, float32 [T, K]. */
  readonly sin_TK: Tensor;
}

/** The tables of any list of positions: a rank that holds another part of the sequence passes other ones. */
export const ropeTables = (positions_T: ArrayLike<number>, frequencies: Float64Array): RopeTables =>
  ropeTablesFor(frequencies)(positions_T);

/**
 * The same for who asks for one list of positions step after step: its numbers are computed once (8192 positions of 128
 * dimensions are a million cosines and sines). The tensors are new ones each time, and the caller's.
 */
export function ropeTablesFor(frequencies: Float64Array): (positions_T: ArrayLike<number>) => RopeTables {
  let last: { positions_T: ArrayLike<number>; cos: Float32Array; sin: Float32Array } | undefined;
  return (positions_T) => {
    if (!last || !isSame(last.positions_T, positions_T)) last = { positions_T, ...turnsOf(positions_T, frequencies) };
    const shape = [positions_T.length, 2 * frequencies.length];
    return { cos_TK: constant(last.cos, shape), sin_TK: constant(last.sin, shape) };
  };
}

/** Whether two lists hold the same positions. */
const isSame = (a: ArrayLike<number>, b: ArrayLike<number>): boolean =>
  a.length === b.length && Array.prototype.every.call(a, (position, t) => position === b[t]);

/** cos and sin± in float64, rounded once to float32; each pair's angle stands in both halves of the K dimensions. */
function turnsOf(positions_T: ArrayLike<number>, frequencies: Float64Array) {
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
  return { cos, sin };
}

/**
 * qkv_BTJK, whose J heads are those of q, of k and of v in this order, with q's and k's turned: all but the last
 * `kvHeads`, which are v's. The tables stay the caller's.
 *
 * What may be written over is turned where it lies, and v is not touched.
 */
export const rope = ({ cos_TK, sin_TK }: RopeTables, kvHeads: number): Layer => {
  const forward = async (qkv_BTJK: Tensor, over: boolean): ReturnType<Layer> => {
    const tables = { cos_TK: share(cos_TK), sin_TK: share(sin_TK) };
    const backward = (over: boolean) => (d_BTJK: Tensor) => turned(d_BTJK, tables, { kvHeads, back: true, over });
    const pull: Pullback = pullback(Object.values(tables), backward(false));
    pull.over = pullback(Object.values(tables), backward(true));
    return [turned(qkv_BTJK, tables, { kvHeads, back: false, over }), pull];
  };
  const layer: Layer = (x_BTJK) => forward(x_BTJK, false);
  return Object.assign(layer, { over: (x_BTJK: Tensor) => forward(x_BTJK, true) });
};

/** Which heads turn, and which way. */
interface Turn {
  /** Of v, which don't turn. */
  readonly kvHeads: number;
  readonly back: boolean;
  /** Whether x is taken over, and its memory with it if nobody else has it. */
  readonly over: boolean;
}

/** x with all but its last `kvHeads` heads turned, in one op or by stock kernels. */
function turned(x_BTJK: Tensor, tables: RopeTables, { kvHeads, back, over }: Turn): Tensor {
  const count = (x_BTJK.shape[2] as number) - kvHeads;
  const form = { turned: count, inverse: back, inPlace: over && isSole(x_BTJK) };
  const y_BTJK = hasFusedOps(x_BTJK)
    ? fused.rope(x_BTJK, tables.cos_TK, tables.sin_TK, form)
    : tf.tidy(() => {
        const [first, others] = [slice(x_BTJK, 2, 0, count), slice(x_BTJK, 2, count, kvHeads)];
        return concat([stockTurned(first, tables, back), others], 2);
      });
  if (over) x_BTJK.dispose();
  return y_BTJK;
}

/** x · cos + swap(x) · sin±; back, swap(x · sin±). */
function stockTurned(x_BTHK: Tensor, { cos_TK, sin_TK }: RopeTables, back: boolean): Tensor {
  const [T, K] = cos_TK.shape as [number, number];
  const overHeads = (table: Tensor) => cast(reshape(table, [T, 1, K]), dtypeOf(x_BTHK));
  const [cos, sin] = [overHeads(cos_TK), overHeads(sin_TK)];
  const partner = back ? swapHalves(mul(x_BTHK, sin)) : mul(swapHalves(x_BTHK), sin);
  return add(mul(x_BTHK, cos), partner);
}
