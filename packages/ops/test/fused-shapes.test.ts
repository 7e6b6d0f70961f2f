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

type Op = (...inputs: [Tensor, Tensor, Tensor, Tensor]) => unknown;
const OPS = {
  rmsNorm: (x, w) => fused.rmsNorm(x, w, 1e-5),
  rmsNormGrad: fused.rmsNormGrad,
  swiglu: fused.swiglu,
  swigluGrad: fused.swigluGrad,
  rope: (x, cos, sin) => fused.rope(x, cos, sin, false),
  causalSoftmax: (scores) => fused.causalSoftmax(scores, 4),
  causalSoftmaxBefore: (scores) => fused.causalSoftmax(scores, -1),
  causalSoftmaxGrad: (p, dp) => fused.causalSoftmaxGrad(p, dp, 0),
} satisfies Record<string, Op>;

const [NORM, NORM_GRAD] = ['needs x [N, D] and w [D], but got', 'needs dy and x [N, D], w [D] and r [N], but got'];
const [GATE, GATE_GRAD] = ['needs gate and up of one shape, but got', 'needs dy, gate and up of one shape, but got'];
const ROPE = 'needs x [..., T, K], cos and sin [T, K], with K even and above 0, but got';
const SOFTMAX = 'needs scores [M, t, s] and 0 <= start < s, but got';
const SOFTMAX_GRAD = 'needs p and dp [M, t, s] and 0 <= start < s, but got';

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
  ['causalSoftmax', SOFTMAX, [5, 5]],
  ['causalSoftmax', SOFTMAX, [1, 4, 4]],
  ['causalSoftmaxBefore', SOFTMAX, [1, 4, 4]],
  ['causalSoftmaxGrad', SOFTMAX_GRAD, [1, 4, 4], [1, 4, 3]],
  ['causalSoftmaxGrad', SOFTMAX_GRAD, [4, 4], [4, 4]],
  ['causalSoftmaxGrad', SOFTMAX_GRAD, [1, 4, 0], [1, 4, 0]],
];

test.each(REFUSED)('%s %s other shapes (%#)', async (name, sentence, ...shapes) => {
  await expectNoLeak(async () => {
    const inputs = shapes.map((shape) => tf.zeros(shape));
    const got = shapes.map((shape) => `[${shape}]`).join(', ');
    expect(() => (OPS[name] as (...inputs: Tensor[]) => unknown)(...inputs)).toThrow(`${sentence} ${got}`);
    tf.dispose(inputs);
  });
});
