/**
 * The fused ops refuse shapes that don't fit each other, with a sentence that says which do: they read by pointer, so
 * with others they would run over the end of an input, or divide by 0.
 */

import { expectNoLeak, useBackend } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import * as fused from '../src/fused.ts';

beforeAll(() => useBackend('cpu'));

type Op = (...inputs: [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]) => unknown;
const OPS = {
  rmsNorm: (x, w) => fused.rmsNorm(x, w, 1e-5),
  rmsNormGrad: fused.rmsNormGrad,
  swiglu: fused.swiglu,
  swigluGrad: fused.swigluGrad,
  rope: (x, cos, sin) => fused.rope(x, cos, sin, false),
  attention: (q, k, v) => fused.attention(q, k, v, false),
  causalAttention: (q, k, v) => fused.attention(q, k, v, true),
  attentionGrad: (q_BHTK, k_BGSK, v_BGSK, do_BHTK, lse_BHT1, D_BHT1) =>
    fused.attentionGrad({ q_BHTK, k_BGSK, v_BGSK, do_BHTK, lse_BHT1, D_BHT1 }, false),
} satisfies Record<string, Op>;

const [NORM, NORM_GRAD] = ['needs x [N, D] and w [D], but got', 'needs dy and x [N, D], w [D] and r [N], but got'];
const [GATE, GATE_GRAD] = ['needs gate and up of one shape, but got', 'needs dy, gate and up of one shape, but got'];
const ROPE = 'needs x [..., T, K], cos and sin [T, K], with K even and above 0, but got';
const ATTENTION = 'needs q [B, H, T, K], k and v [B, G, S, K], G dividing H, S above 0, and T = S if causal, but got';
const ATTENTION_GRAD =
  'needs q and do [B, H, T, K], k and v [B, G, S, K], lse and D [B, H, T, 1], G dividing H, S above 0, ' +
  'and T = S if causal, but got';
const [Q, KEYS, PER_QUERY] = [
  [2, 4, 3, 6],
  [2, 2, 5, 6],
  [2, 4, 3, 1],
]; // shapes that fit

/** Shapes of which one does not fit. */
// biome-ignore format: a table
const REFUSED: [op: keyof typeof OPS, sentence: string, ...shapes: number[][]][] = [
  ['rmsNorm', NORM, [2, 3], [2]],
  ['rmsNorm', NORM, [2, 3], [1, 3]],
  ['rmsNorm', NORM, [3], [3]],
  ['rmsNormGrad', NORM_GRAD, [2, 3], [2, 3], [3], [3]],
  ['rmsNormGrad', NORM_GRAD, [2, 3], [2, 3], [2], [2]],
  ['rmsNormGrad', NORM_GRAD, [2, 3], [3, 2], [3], [2]],
  ['rmsNormGrad', NORM_GRAD, [6], [6], [6], [6]],
  ['swiglu', GATE, [2, 3], [2, 2]],
  ['swigluGrad', GATE_GRAD, [2, 3], [2, 3], [3, 3]],
  ['swigluGrad', GATE_GRAD, [2, 3], [2, 2], [2, 3]],
  ['rope', ROPE, [2, 5, 4], [5, 4], [4, 4]],
  ['rope', ROPE, [2, 5, 4], [4, 4], [4, 4]],
  ['rope', ROPE, [2, 5, 4], [5, 2], [5, 2]],
  ['rope', ROPE, [2, 5, 3], [5, 3], [5, 3]],
  ['rope', ROPE, [2, 5, 0], [5, 0], [5, 0]],
  ['rope', ROPE, [20], [5, 4], [5, 4]],
  ['rope', ROPE, [5, 4], [20], [20]],
  ['attention', ATTENTION, Q, KEYS, [2, 2, 5, 7]],
  ['attention', ATTENTION, Q, [1, 2, 5, 6], [1, 2, 5, 6]],
  ['attention', ATTENTION, Q, [2, 2, 5, 4], [2, 2, 5, 4]],
  ['attention', ATTENTION, Q, [2, 3, 5, 6], [2, 3, 5, 6]],
  ['attention', ATTENTION, Q, [2, 0, 5, 6], [2, 0, 5, 6]],
  ['attention', ATTENTION, Q, [2, 2, 0, 6], [2, 2, 0, 6]],
  ['attention', ATTENTION, [4, 3, 6], KEYS, KEYS],
  ['attention', ATTENTION, Q, [2, 5, 6], [2, 5, 6]],
  ['causalAttention', ATTENTION, Q, KEYS, KEYS],
  ['attentionGrad', ATTENTION_GRAD, Q, KEYS, [2, 2, 4, 6], Q, PER_QUERY, PER_QUERY],
  ['attentionGrad', ATTENTION_GRAD, Q, KEYS, KEYS, [2, 4, 4, 6], PER_QUERY, PER_QUERY],
  ['attentionGrad', ATTENTION_GRAD, Q, KEYS, KEYS, Q, [2, 4, 3], PER_QUERY],
  ['attentionGrad', ATTENTION_GRAD, Q, KEYS, KEYS, Q, PER_QUERY, Q],
];

test.each(REFUSED)('%s %s other shapes (%#)', async (name, sentence, ...shapes) => {
  await expectNoLeak(async () => {
    const inputs = shapes.map((shape) => tf.zeros(shape));
    const got = shapes.map((shape) => `[${shape}]`).join(', ');
    expect(() => (OPS[name] as (...inputs: Tensor[]) => unknown)(...inputs)).toThrow(`${sentence} ${got}`);
    tf.dispose(inputs);
  });
});
