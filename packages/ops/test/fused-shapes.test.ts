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

const JOINED = { causal: true, scale: 1, kvHeads: 2, deterministic: true };
type Op = (...inputs: [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]) => unknown;
const OPS = {
  rmsNorm: (x, w) => fused.rmsNorm(x, w, 1e-5),
  rmsNormGrad: fused.rmsNormGrad,
  swiglu: fused.swiglu,
  swigluGrad: fused.swigluGrad,
  rope: (x, cos, sin) => fused.rope(x, cos, sin, { turned: 3, inverse: false }),
  attention: (q, k, v) => fused.attention([q, k, v], { causal: false, scale: 1 }),
  causalAttention: (q, k, v) => fused.attention([q, k, v], { causal: true, scale: 1 }),
  joinedAttention: (qkv) => fused.attention([qkv], JOINED),
  attentionGrad: (dO, q, k, v, o, lse) =>
    fused.attentionGrad([q, k, v], { o, lse, dO }, { causal: false, scale: 1, deterministic: true }),
  joinedAttentionGrad: (dO, qkv, o, lse) => fused.attentionGrad([qkv], { o, lse, dO }, JOINED),
  mergeAttention: (o, lse, part, partLse) => fused.mergeAttention([o, lse], [part, partLse], 2),
  mergeBefore: (o, lse, part, partLse) => fused.mergeAttention([o, lse], [part, partLse], -1),
  addAt: (sum, part) => fused.addAt(sum, part, 2),
  addBefore: (sum, part) => fused.addAt(sum, part, -1),
} satisfies Record<string, Op>;

const NORM = 'needs x [N, D] and w [D], but got';
const NORM_GRAD = 'needs dy and x [N, D], w [D], r [N], and at most one onto [N, D], but got';
const [GATE, GATE_GRAD] = ['needs x [N, 2F], but got', 'needs dy [N, F] and x [N, 2F], but got'];
const ROPE = 'needs x [B, T, J, K], cos and sin [T, K], with K even and above 0, and no more than J turned, but got';
const [BLOCK, HEADS] = [
  'q [B, T, H, K], k and v [B, S, G, K], G dividing H, S above 0, and T = S if causal, but got',
  'qkv [B, T, H+2G, K], G dividing H, and T above 0, but got',
];
const [ATTENTION, JOINED_ATTENTION] = [`needs ${BLOCK}`, `needs ${HEADS}`];
const OUTPUTS = 'needs do and o [B, T, H, K], lse [B, H, T],';
const [ATTENTION_GRAD, JOINED_GRAD] = [`${OUTPUTS} ${BLOCK}`, `${OUTPUTS} ${HEADS}`];
const MERGE = 'needs o [B, T, H, K], lse [B, H, T], part [B, Q, H, K], part_lse [B, H, Q], start + Q up to T, but got';
const ADD = 'needs sum [B, T, ...] and part [B, Q, ...], start + Q up to T, but got';
const [O, LSE] = [
  [2, 5, 4, 6],
  [2, 4, 5],
]; // into which Q and PER_QUERY fit at place 2
const [Q, KEYS, PER_QUERY] = [
  [2, 3, 4, 6],
  [2, 5, 2, 6],
  [2, 4, 3],
]; // shapes that fit
const TABLE = [3, 6];

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
  ['rmsNormGrad', NORM_GRAD, [2, 3], [2, 3], [3], [2], [1, 3]],
  ['swiglu', GATE, [2, 3]],
  ['swiglu', GATE, [4]],
  ['swigluGrad', GATE_GRAD, [2, 3], [2, 4]],
  ['swigluGrad', GATE_GRAD, [2, 3], [3, 6]],
  ['swigluGrad', GATE_GRAD, [6], [2, 12]],
  ['rope', ROPE, Q, TABLE, [2, 6]],
  ['rope', ROPE, Q, [2, 6], [2, 6]],
  ['rope', ROPE, Q, [3, 4], [3, 4]],
  ['rope', ROPE, [2, 3, 2, 6], TABLE, TABLE],
  ['rope', ROPE, [2, 3, 4, 5], [3, 5], [3, 5]],
  ['rope', ROPE, [2, 3, 4, 0], [3, 0], [3, 0]],
  ['rope', ROPE, [2, 3, 24], TABLE, TABLE],
  ['rope', ROPE, Q, [18], [18]],
  ['attention', ATTENTION, Q, KEYS, [2, 5, 2, 7]],
  ['attention', ATTENTION, Q, [1, 5, 2, 6], [1, 5, 2, 6]],
  ['attention', ATTENTION, Q, [2, 5, 2, 4], [2, 5, 2, 4]],
  ['attention', ATTENTION, Q, [2, 5, 3, 6], [2, 5, 3, 6]],
  ['attention', ATTENTION, Q, [2, 5, 0, 6], [2, 5, 0, 6]],
  ['attention', ATTENTION, Q, [2, 0, 2, 6], [2, 0, 2, 6]],
  ['attention', ATTENTION, [3, 4, 6], KEYS, KEYS],
  ['attention', ATTENTION, Q, [2, 5, 6], [2, 5, 6]],
  ['causalAttention', ATTENTION, Q, KEYS, KEYS],
  ['attentionGrad', ATTENTION_GRAD, Q, Q, KEYS, [2, 4, 2, 6], Q, PER_QUERY],
  ['attentionGrad', ATTENTION_GRAD, [2, 4, 4, 6], Q, KEYS, KEYS, Q, PER_QUERY],
  ['attentionGrad', ATTENTION_GRAD, Q, Q, KEYS, KEYS, [2, 3, 4, 1], PER_QUERY],
  ['attentionGrad', ATTENTION_GRAD, Q, Q, KEYS, KEYS, Q, [2, 4, 3, 1]],
  ['joinedAttention', JOINED_ATTENTION, [2, 3, 7, 6]],
  ['joinedAttention', JOINED_ATTENTION, [2, 3, 3, 6]],
  ['joinedAttention', JOINED_ATTENTION, [2, 0, 8, 6]],
  ['joinedAttention', JOINED_ATTENTION, [2, 3, 48]],
  ['joinedAttentionGrad', JOINED_GRAD, [2, 3, 6, 6], [2, 3, 8, 6], Q, PER_QUERY],
  ['joinedAttentionGrad', JOINED_GRAD, Q, [2, 3, 8, 6], [2, 3, 8, 6], PER_QUERY],
  ['joinedAttentionGrad', JOINED_GRAD, Q, [2, 3, 8, 6], Q, [2, 8, 3]],
  ['joinedAttentionGrad', JOINED_GRAD, Q, [2, 3, 9, 6], Q, PER_QUERY],
  ['mergeAttention', MERGE, O, LSE, [2, 4, 4, 6], [2, 4, 4]],
  ['mergeAttention', MERGE, O, LSE, [2, 3, 4, 5], PER_QUERY],
  ['mergeAttention', MERGE, O, LSE, [2, 3, 2, 6], PER_QUERY],
  ['mergeAttention', MERGE, O, LSE, [1, 3, 4, 6], PER_QUERY],
  ['mergeAttention', MERGE, O, LSE, Q, [2, 4, 2]],
  ['mergeAttention', MERGE, O, [2, 5, 4], Q, PER_QUERY],
  ['mergeAttention', MERGE, [2, 5, 24], LSE, [2, 3, 24], PER_QUERY],
  ['mergeBefore', MERGE, O, LSE, Q, PER_QUERY],
  ['addAt', ADD, O, [2, 4, 4, 6]],
  ['addAt', ADD, O, [2, 3, 24]],
  ['addAt', ADD, O, [1, 3, 4, 6]],
  ['addAt', ADD, [5], [3]],
  ['addBefore', ADD, O, Q],
];

test.each(REFUSED)('%s %s other shapes (%#)', async (name, sentence, ...shapes) => {
  await expectNoLeak(async () => {
    const inputs = shapes.map((shape) => tf.zeros(shape));
    const got = shapes.map((shape) => `[${shape}]`).join(', ');
    expect(() => (OPS[name] as (...inputs: Tensor[]) => unknown)(...inputs)).toThrow(`${sentence} ${got}`);
    tf.dispose(inputs);
  });
});
