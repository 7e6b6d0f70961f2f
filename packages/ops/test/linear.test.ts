import { onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { linear, type Parameter } from '../src/index.ts';
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

  test('several weights of one x are one layer, whose outputs stand beside one another', async () => {
    await fc.assert(
      fc.asyncProperty(side, side, fc.array(side, { minLength: 2, maxLength: 3 }), async (N, I, outputs) => {
        const weights = outputs.map((O, i) => parameter(`w${i}`, [O, I]));
        await checkLayer({
          layer: single(linear(...weights)),
          inputs: [randn('x', [N, I])],
          parameters: weights,
          reference: ([x], ws) => tf.matMul(x as tf.Tensor, tf.concat(ws, 0), false, true),
        });
      }),
      { numRuns: 12 },
    );
  });

  test('two backward passes add up in the gradients, of one weight and of several', async () => {
    for (const names of [['w'], ['w', 'other']]) {
      const weights = names.map((name) => parameter(name, [3, 4]));
      const x = randn('x', [5, 4]);
      const once = await gradientsAfter(1, weights, x);
      const twice = await gradientsAfter(2, weights, x);
      expect(twice).toEqual(once.map((gradient) => gradient.map((g) => 2 * g))); // g + g has no rounding
      tf.dispose(x);
      for (const weight of weights) weight.dispose();
    }
  });

  test('a gradient that only some of the weights have already is added to', async () => {
    const [a, b] = [parameter('a', [3, 4]), parameter('b', [2, 4])];
    const x = randn('x', [5, 4]);
    const once = await gradientsAfter(1, [a, b], x);
    b.clearGradient();
    const [ofA, ofB] = await addedGradients([a, b], x);
    expect([ofA, ofB]).toEqual([once[0]?.map((g) => 2 * g), once[1]]);
    tf.dispose(x);
    for (const weight of [a, b]) weight.dispose();
  });
});

async function gradientsAfter(passes: number, weights: Parameter[], x: tf.Tensor): Promise<number[][]> {
  for (const weight of weights) weight.clearGradient();
  for (let i = 1; i < passes; i++) await addedGradients(weights, x);
  return addedGradients(weights, x);
}

/** Runs the layer there and back once more, and returns all gradients. */
async function addedGradients(weights: Parameter[], x: tf.Tensor): Promise<number[][]> {
  const [y, pull] = await linear(...weights)(x);
  tf.dispose([y, await pull(y)]);
  return Promise.all(weights.map(async ({ grad }) => Array.from(await (grad as tf.Tensor).data())));
}

test('in bfloat16, products are added up in float32 and cut to bfloat16 once', async () => {
  await useBackend('cpu');
  // On a CPU without bfloat16 instructions TensorFlow drops the lower bits instead of rounding: twice the error.
  await checkBfloat16({
    layer: ([w]) => single(linear(w as Parameter)),
    inputs: [randn('x', [6, 400])],
    weights: [randn('w', [5, 400])],
    tolerance: 2 * BFLOAT16,
  });
});
