/**
 * A feed-forward that is several, of which a router chooses some for each row (Mixtral, Qwen3-MoE).
 *
 *   p = softmax(logits), of which the `active` largest count, made to add up to 1 if `normalized`
 *   y_n = [onto_n +] Σ over row n's experts e, in order, of p_e · down_e · swiglu(up_e · x_n)
 *
 * Shazeer et al., "Outrageously large neural networks" (2017); Jiang et al., "Mixtral of experts" (2024).
 */
import { attr, execute } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type Packed, shapeNumbers } from './packed.ts';
import { type Activations, type NormOptions, packedProduct, stockNorm } from './packed-product.ts';

/** All experts of a layer, or a rank's part of each. */
export interface ExpertWeights {
  /** E matrices of 2F rows, gate's then up's, and D columns. */
  readonly up_E2FD: Packed;
  /** E matrices of D rows and F columns. */
  readonly down_EDF: Packed;
}

/** How rows choose their experts, and what these compute. */
export interface ExpertsOptions {
  /** What the matrices multiply. */
  readonly activations: Activations;
  /** RMSNorm of x first. */
  readonly norm?: NormOptions | undefined;
  /** Added to the result; float32. */
  readonly onto_ND?: Tensor | undefined;
  /** How many compute a row. */
  readonly active: number;
  /** Whether the chosen ones' weights are made to add up to one. */
  readonly normalized: boolean;
  /** Experts' gates are GELU's (by tanh), not SiLU's (Grok-1). Default false. */
  readonly gelu?: boolean;
  /** The router's number of the first expert here (default 0): a rank may have some, and adds up its own alone. */
  readonly first?: number;
}

/** y_ND of x_ND, and of the router's logits_NE for all E experts; all float32. */
export function expertsProduct(x_ND: Tensor, logits_NE: Tensor, weights: ExpertWeights, options: ExpertsOptions) {
  const { up_E2FD: up, down_EDF: down } = weights;
  if (!up.native) return stockExperts(x_ND, logits_NE, weights, options);
  const { activations, norm, onto_ND, active, normalized, gelu = false, first = 0 } = options;
  const extras = [...(norm ? [norm.gain_I] : []), ...(onto_ND ? [onto_ND] : [])];
  const flags = [normalized, norm, onto_ND, activations === 'q80', gelu].map((flag) => (flag ? 1 : 0));
  return execute(
    'FourfoldExperts',
    [x_ND, logits_NE, up.data, down.data, ...extras],
    [
      attr.int('M', extras.length),
      attr.ints('shapes', [...shapeNumbers(up), ...shapeNumbers(down)]),
      attr.ints('how', [first, up.matrices, active, ...flags]),
      attr.float('epsilon', norm?.epsilon ?? 0),
    ],
  );
}

/** Every expert computes every row, times its weight there, which is 0 for most. */
function stockExperts(x_ND: Tensor, logits_NE: Tensor, weights: ExpertWeights, options: ExpertsOptions): Tensor {
  const { activations, norm, onto_ND, gelu = false, first = 0 } = options;
  return tf.tidy(() => {
    const [x, shares_NE] = [norm ? stockNorm(x_ND, norm) : x_ND, sharesOf(logits_NE, options)];
    let y_ND = onto_ND ?? tf.zerosLike(x_ND);
    for (let e = 0; e < weights.up_E2FD.matrices; e++) {
      const hidden = packedProduct(x, matrixOf(weights.up_E2FD, e), { activations });
      const down = matrixOf(weights.down_EDF, e);
      const out_ND = gelu
        ? packedProduct(stockGeglu(hidden), down, { activations })
        : packedProduct(hidden, down, { activations, swiglu: true });
      y_ND = tf.add(y_ND, tf.mul(out_ND, tf.slice(shares_NE, [0, first + e], [-1, 1])));
    }
    return y_ND;
  });
}

/** gelu(gate) · up, GELU by tanh: z · sigmoid(sqrt(8/π)·(z + 0.044715 z³)). */
const stockGeglu = (x_N2F: Tensor): Tensor =>
  tf.tidy(() => {
    const [gate, up] = tf.split(x_N2F, 2, 1) as [Tensor, Tensor];
    const u = tf.mul(Math.sqrt(8 / Math.PI), tf.add(gate, tf.mul(0.044715, tf.mul(gate, tf.square(gate)))));
    return tf.mul(tf.mul(gate, tf.sigmoid(u)), up);
  });

/** Expert e's matrix alone, where weights are plain float32. */
function matrixOf(w: Packed, e: number): Packed {
  return { ...w, matrices: 1, data: tf.slice(w.data, [e * w.rows, 0], [w.rows, -1]) };
}

/** Each expert's weight in each row: [N, E]. */
function sharesOf(logits_NE: Tensor, { active, normalized }: ExpertsOptions): Tensor {
  const p_NE = tf.softmax(logits_NE);
  const { indices } = tf.topk(logits_NE, active);
  const chosen_NE = tf.sum(tf.oneHot(indices as tf.Tensor2D, logits_NE.shape[1] as number), 1);
  const kept_NE = tf.mul(p_NE, chosen_NE);
  return normalized ? tf.div(kept_NE, tf.sum(kept_NE, 1, true)) : kept_NE;
}
