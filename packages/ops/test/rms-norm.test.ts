import { expectNoLeak, onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Parameter, type PullbackOnto, rmsNorm } from '../src/index.ts';
import { BFLOAT16, checkBfloat16, checkLayer, expectClose, FLOAT32, parameter, randn, single } from './helpers.ts';

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

  test('onto another gradient, the result is their sum, and the weight gets its own as ever', async () => {
    const [x, dy, base] = [randn('x', [5, 12]), randn('dy', [5, 12]), randn('base', [5, 12])];
    const weights = [parameter('w', [12]), parameter('w', [12])] as const;
    const [y, pull] = await rmsNorm(weights[0], EPSILON)(x);
    const [again, pullOnto] = await rmsNorm(weights[1], EPSILON)(x);
    const [dx, sum] = [await pull(dy), await pullOnto.onto(dy, base)];
    const wanted = tf.add(base, dx);
    await expectClose(sum, wanted, FLOAT32, 'base + dx');
    await expectClose(weights[1].grad as tf.Tensor, weights[0].grad as tf.Tensor, 0, 'dw');
    tf.dispose([x, dy, base, y, again, dx, sum, wanted]);
    for (const w of weights) w.dispose();
  });

  test('the pullback frees what it saved in every way to end it', async () => {
    const [x, w_D] = [randn('x', [5, 12]), parameter('w', [12])];
    const endings = {
      call: (pull: PullbackOnto) => pull(x),
      onto: (pull: PullbackOnto) => pull.onto(x, x),
      drop: (pull: PullbackOnto) => pull.drop(),
    };
    for (const end of Object.values(endings))
      await expectNoLeak(async () => {
        const [y, pull] = await rmsNorm(w_D, EPSILON)(x);
        const dx = await end(pull);
        w_D.clearGradient();
        tf.dispose([y, ...(dx ? [dx] : [])]);
      });
    x.dispose();
    w_D.dispose();
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
