import { onBackends } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { test } from 'vitest';
import { add, sum } from '../src/index.ts';
import { checkLayer, randn, single } from './helpers.ts';

const side = fc.integer({ min: 1, max: 17 });

onBackends(() => {
  test('add is a + b, and gives its gradient to both', async () => {
    await fc.assert(
      fc.asyncProperty(side, side, async (N, D) => {
        const inputs = [randn('a', [N, D]), randn('b', [N, D])];
        await checkLayer({ layer: add, inputs, reference: ([a, b]) => tf.add(a as tf.Tensor, b as tf.Tensor) });
      }),
      { numRuns: 10 },
    );
  });

  // Squares, so that the sum does not cancel: a relative bound says nothing about a sum near 0.
  test('sum is the sum of all elements, and gives its gradient to each', async () => {
    await fc.assert(
      fc.asyncProperty(side, side, side, async (B, T, D) => {
        const inputs = [tf.square(randn('x', [B, T, D]))];
        await checkLayer({ layer: single(sum), inputs, reference: ([x]) => tf.sum(x as tf.Tensor) });
      }),
      { numRuns: 10 },
    );
  });
});
