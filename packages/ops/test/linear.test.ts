import { onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { linear } from '../src/index.ts';
import { BFLOAT16, checkBfloat16, checkLayer, parameter, randn, single } from './helpers.ts';

const side = fc.integer({ min: 1, max: 17 });

onBackends(() => {
  test('linear is x · Wᵀ, and its gradients are those of tf.grads', async () => {
    await fc.assert(
      fc.asyncProperty(side, side, side, async (N, I, O) => {
        const w_OI = parameter('w', [O, I]);
        await checkLayer({
          layer: single(linear(w_OI)),
          inputs: [randn('x', [N, I])],
          parameters: [w_OI],
          reference: ([x], [w]) => tf.matMul(x as tf.Tensor, w as tf.Tensor, false, true),
        });
      }),
      { numRuns: 20 },
    );
  });

  test('two backward passes add up in the gradient', async () => {
    const w_OI = parameter('w', [3, 4]);
    const x = randn('x', [5, 4]);
    const once = await gradientAfter(1, w_OI, x);
    const twice = await gradientAfter(2, w_OI, x);
    expect(Array.from(twice)).toEqual(Array.from(once, (g) => 2 * g)); // g + g has no rounding
    tf.dispose(x);
    w_OI.dispose();
  });
});

async function gradientAfter(passes: number, w_OI: ReturnType<typeof parameter>, x: tf.Tensor) {
  w_OI.clearGradient();
  for (let i = 0; i < passes; i++) {
    const [y, pull] = await linear(w_OI)(x);
    tf.dispose([y, await pull(y)]);
  }
  return (w_OI.grad as tf.Tensor).data();
}

test('in bfloat16, products are added up in float32 and cut to bfloat16 once', async () => {
  await useBackend('cpu');
  // On a CPU without bfloat16 instructions TensorFlow drops the lower bits instead of rounding: twice the error.
  await checkBfloat16({
    layer: ([w]) => single(linear(w as ReturnType<typeof parameter>)),
    inputs: [randn('x', [6, 400])],
    weights: [randn('w', [5, 400])],
    tolerance: 2 * BFLOAT16,
  });
});
