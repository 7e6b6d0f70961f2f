/**
 * The products of a decode step, each with what stands before and after it: one op in place of three or four.
 *
 *     y = onto + w · prepared(x)        prepared: as it is, RMSNorm, or SwiGLU
 *
 * activations 'float32': each weight is made a float and multiplied as such, for logits that equal those of the same
 * dequantized weights. 'q80': x is rounded to whole numbers from -127 to 127, by blocks of 32 with one scale, and
 * multiplied as integers, of which a processor does up to 4 times as many; the product's error is then that of x's
 * rounding, 1/254 of the block's largest number at most.
 *
 * A row of the result has the same bits whatever other rows there are: how a sequence goes on does not depend on what
 * else is computed with it.
 */
import { attr, execute } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { matmul } from '../kernels.ts';
import { BLOCK, inBlocks } from './formats.ts';
import { type Packed, shapeNumbers } from './packed.ts';

/** What weights multiply: floats, or int8 in blocks of 32 with a scale each. */
export type Activations = 'float32' | 'q80';

/** RMSNorm of a product's x. */
export interface NormOptions {
  /** What each normalized number is multiplied by, float32. */
  readonly gain_I: Tensor;
  /** ε, added to the mean square. */
  readonly epsilon: number;
}

/** The processor's instructions: the best that it has unless a test or a benchmark asks for others. */
export type Variant = 'best' | 'plain' | 'avx2' | 'vnni';
/** Their numbers in native/ops/packed-variants.h. */
export const VARIANT_NUMBER: Record<Variant, number> = { best: 0, plain: 1, avx2: 2, vnni: 3 };

/** What a product does beside multiplying. */
export interface PackedProductOptions {
  /** 'q80' for weights in blocks alone; those of f32 and bf16 are multiplied as floats in any case. */
  readonly activations: Activations;
  /** RMSNorm of x first. */
  readonly norm?: NormOptions | undefined;
  /** x_N2I is gate and up side by side: silu(gate) · up is multiplied. Default false. */
  readonly swiglu?: boolean;
  /** Added to the product; float32. */
  readonly onto_NO?: Tensor | undefined;
  /** Which instructions compute it; default: the best. */
  readonly variant?: Variant;
}

/** y_NO = [onto_NO +] w_OI · x_NI, x float32 (x_N2I with swiglu), with x prepared as the options say. */
export function packedProduct(x_NI: Tensor, w_OI: Packed, options: PackedProductOptions): Tensor {
  const { activations, norm, swiglu = false, onto_NO, variant = 'best' } = options;
  if (!w_OI.native) return stockProduct(x_NI, w_OI, options);
  const extras = [...(norm ? [norm.gain_I] : []), ...(onto_NO ? [onto_NO] : [])];
  const prepare = norm ? 1 : swiglu ? 2 : 0;
  return execute(
    'FourfoldPackedProduct',
    [x_NI, w_OI.data, ...extras],
    [
      attr.int('M', extras.length),
      attr.ints('shape', shapeNumbers(w_OI)),
      attr.ints('how', [prepare, onto_NO ? 1 : 0, activations === 'q80' ? 1 : 0, VARIANT_NUMBER[variant]]),
      attr.float('epsilon', norm?.epsilon ?? 0),
    ],
  );
}

/** Whether x is rounded for these weights. */
const isRounded = ({ format }: Packed, activations: Activations): boolean => activations === 'q80' && inBlocks(format);

// ## By tfjs-core

/** The same by stock kernels: weights are float32 there, and x is rounded as the blocks would round it. */
function stockProduct(x: Tensor, w_OI: Packed, { activations, norm, swiglu, onto_NO }: PackedProductOptions): Tensor {
  return tf.tidy(() => {
    const prepared_NI = norm ? stockNorm(x, norm) : swiglu ? stockSwiglu(x) : x;
    const x_NI = isRounded(w_OI, activations) ? roundedToQ80(prepared_NI) : prepared_NI;
    const y_NO = matmul(x_NI, w_OI.data, 'nt');
    return onto_NO ? tf.add(onto_NO, y_NO) : y_NO;
  });
}

/** x · gain / sqrt(mean(x²) + ε). */
export const stockNorm = (x_NI: Tensor, { gain_I, epsilon }: NormOptions): Tensor =>
  tf.tidy(() => {
    const squares_N1 = tf.mean(tf.square(x_NI), -1, true);
    return tf.mul(tf.mul(x_NI, tf.rsqrt(tf.add(squares_N1, epsilon))), gain_I);
  });

/** silu(gate) · up. */
const stockSwiglu = (x_N2I: Tensor): Tensor =>
  tf.tidy(() => {
    const [gate, up] = tf.split(x_N2I, 2, 1) as [Tensor, Tensor];
    return tf.mul(tf.mul(gate, tf.sigmoid(gate)), up);
  });

/** x as the integer kernels see it: d · round(x · (1/d)), d = max|x| / 127 of each block, half to even. */
const roundedToQ80 = (x_NI: Tensor): Tensor =>
  tf.tidy(() => {
    const blocks = tf.reshape(x_NI, [-1, BLOCK]);
    const d = tf.div(tf.max(tf.abs(blocks), 1, true), 127);
    const q = tf.round(tf.mul(blocks, tf.divNoNan(1, d))); // not blocks / d, whose last bit may be another
    return tf.reshape(tf.mul(q, d), x_NI.shape);
  });
