import { onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Parameter, rmsNorm } from '../src/index.ts';
import { BFLOAT16, checkBfloat16, checkLayer, parameter, randn, single } from './helpers.ts';

const EPSILON = 1e-5;

function reference([x]: tf.Tensor[], [w]: tf.Tensor[]): tf.Tensor {
  const meanSquare = tf.mean(tf.square(x as tf.Tensor), 1, true);
  return tf.mul(tf.div(x as tf.Tensor, tf.sqrt(tf.add(meanSquare, EPSILON))), w as tf.Tensor);
}

onBackends(() => {
  test('rmsNorm divides by the root of the mean square, and its gradients are those of tf.grads', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 8, max: 33 }), async (N, D) => {
        const w_D = parameter('w', [D]);
        await checkLayer({
          layer: single(rmsNorm(w_D, EPSILON)),
          inputs: [randn('x', [N, D])],
          parameters: [w_D],
          reference,
        });
      }),
      { numRuns: 20 },
    );
  });

  test('a vector of zeros stays zero, and has a finite gradient', async () => {
    const w_D = parameter('w', [4]);
    const [x, dy] = [tf.zeros([1, 4]), randn('dy', [1, 4])];
    const [y, pull] = await rmsNorm(w_D, EPSILON)(x);
    const dx = await pull(dy);
    const expected = tf.tidy(() => tf.mul(tf.mul(dy, w_D.value), 1 / Math.sqrt(EPSILON)));
    expect(Array.from(await y.data())).toEqual([0, 0, 0, 0]);
    const [actual, wanted] = [await dx.data(), await expected.data()];
    for (const [i, slope] of wanted.entries()) expect(actual[i]).toBeCloseTo(slope, 3); // some hundreds: six digits
    tf.dispose([x, dy, y, dx, expected]);
    w_D.dispose();
  });
});

test('in bfloat16 only the results are rounded', async () => {
  await useBackend('cpu');
  await checkBfloat16({
    layer: ([w]) => single(rmsNorm(w as Parameter, EPSILON)),
    inputs: [randn('x', [6, 33])],
    weights: [randn('w', [33])],
    tolerance: BFLOAT16,
  });
});
