import { onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { test } from 'vitest';
import { swiglu } from '../src/index.ts';
import { BFLOAT16, beside, checkBfloat16, checkLayer, randn } from './helpers.ts';

onBackends(() => {
  test('swiglu is silu(gate) · up, and its gradients are those of tf.grads', async () => {
    const side = fc.integer({ min: 1, max: 17 });
    await fc.assert(
      fc.asyncProperty(side, side, async (N, F) => {
        await checkLayer({
          layer: beside(swiglu, 1),
          inputs: [randn('gate', [N, F]), randn('up', [N, F])],
          reference: ([gate, up]) => tf.mul(tf.mul(gate as tf.Tensor, tf.sigmoid(gate as tf.Tensor)), up as tf.Tensor),
        });
      }),
      { numRuns: 20 },
    );
  });

  test('far from zero the gate is open or shut, and nothing overflows', async () => {
    await checkLayer({
      layer: beside(swiglu, 1),
      inputs: [tf.tensor2d([[-200, -90, 90, 200]]), randn('up', [1, 4])],
      reference: ([gate, up]) => tf.mul(tf.relu(gate as tf.Tensor), up as tf.Tensor),
    });
  });
});

test('in bfloat16, each of its products rounds once', async () => {
  await useBackend('cpu');
  // dgate takes the longest way: s, da, da · s, sigmoidGrad, gate · that, and the sum round, one after the other.
  await checkBfloat16({
    layer: () => beside(swiglu, 1),
    inputs: [randn('gate', [6, 9]), randn('up', [6, 9])],
    tolerance: 2 * BFLOAT16,
  });
});
