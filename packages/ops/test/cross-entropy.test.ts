import { cast, type DType, dtypeOf, memory, resetPeak } from '@fourfold/runtime';
import { expectNoLeak, onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { crossEntropy, kernels, type Layer, lossChunks, Parameter, pullback } from '../src/index.ts';
import { BFLOAT16, checkLayer, expectClose, integers, parameter, randn } from './helpers.ts';

/**
 * crossEntropy against fixed targets as a layer: its value is the loss, 0-d, and dy the loss's weight. That is known in
 * backward alone, and so the loss is computed once more there.
 */
const loss =
  (w_VD: Parameter, targets: tf.Tensor, chunkBytes?: number): Layer<readonly tf.Tensor[]> =>
  async ([x]) => {
    const saved = kernels.share(x as tf.Tensor);
    const run = crossEntropy(w_VD, { chunkBytes });
    const [value, pull] = await run(saved, targets);
    pull.drop();
    const backward = async (dy: tf.Tensor) => {
      const [again, pullAgain] = await run(saved, targets, { weight: (await dy.data())[0] as number });
      again.dispose();
      return [await pullAgain()];
    };
    return [value, pullback([saved], backward)];
  };

const reference =
  (targets: tf.Tensor) =>
  ([x]: tf.Tensor[], [w]: tf.Tensor[]): tf.Tensor => {
    const logP = tf.logSoftmax(tf.matMul(x as tf.Tensor, w as tf.Tensor, false, true));
    const V = (w as tf.Tensor).shape[0] as number;
    const oneHot = tf.cast(tf.oneHot(tf.reshape(targets, [targets.size]), V), 'float32');
    return tf.neg(tf.mean(tf.sum(tf.mul(oneHot, logP), 1)));
  };

// At least four tokens: a single one can be so sure of its target that p - 1, and with it the whole gradient, is near
// the rounding of p itself.
const tokens = fc.integer({ min: 4, max: 9 });

/** Chunks of two tokens for a vocabulary of V. */
const twoTokens = (V: number): number => 2 * 4 * V;

onBackends(() => {
  test('crossEntropy is the mean of -log softmax at the targets, with its gradients, in a chunk or many', async () => {
    const [V, D] = [fc.integer({ min: 3, max: 30 }), fc.integer({ min: 1, max: 9 })];
    await fc.assert(
      fc.asyncProperty(tokens, V, D, fc.boolean(), async (N, V, D, whole) => {
        const w_VD = parameter('w', [V, D]);
        const targets = tf.tensor1d(integers('targets', N, V), 'int32');
        await checkLayer({
          layer: loss(w_VD, targets, whole ? undefined : twoTokens(V)),
          inputs: [randn('x', [N, D])],
          parameters: [w_VD],
          reference: reference(targets),
        });
        targets.dispose();
      }),
      { numRuns: 20 },
    );
  });

  test('every token may have the same target, and targets may have any shape', async () => {
    const w_VD = parameter('w', [5, 3]);
    const targets = tf.fill([2, 3], 4, 'int32');
    await checkLayer({
      layer: loss(w_VD, targets, twoTokens(5)),
      inputs: [randn('x', [6, 3])],
      parameters: [w_VD],
      reference: reference(targets),
    });
    targets.dispose();
  });

  test('logits of ±200 give the right loss and finite gradients', async () => {
    // x is [1, 0] or [0, 1], so that a token's logits are a column of w.
    const w_VD = Parameter.of(
      'w',
      tf.tensor2d([
        [200, -200],
        [-200, 200],
        [0, 199],
      ]),
    );
    const x_ND = tf.tensor2d([
      [1, 0],
      [1, 0],
      [0, 1],
      [0, 1],
    ]);
    const targets = tf.tensor1d([0, 1, 0, 2], 'int32');
    const [value, pull] = await crossEntropy(w_VD)(x_ND, targets);
    const wanted = (0 + 400 + (400 + Math.log1p(Math.exp(-1))) + (1 + Math.log1p(Math.exp(-1)))) / 4;
    expect((await value.data())[0]).toBeCloseTo(wanted, 4); // some hundreds, with 24 bits
    const dx_ND = await pull();
    for (const d of [dx_ND, w_VD.grad as tf.Tensor]) expect((await d.data()).every(Number.isFinite)).toBe(true);
    tf.dispose([x_ND, targets, value, dx_ND]);
    w_VD.dispose();
  });

  test('a weight of a quarter makes every gradient a quarter, to the bit, and leaves the loss as it is', async () => {
    const [x, w, targets] = [randn('x', [7, 4]), randn('w', [11, 4]), tf.tensor1d(integers('t', 7, 11), 'int32')];
    const w_VD = Parameter.of('w', w);
    const run = async (weight: number) => {
      const [value, pull] = await crossEntropy(w_VD, { chunkBytes: twoTokens(11) })(x, targets, { weight });
      const dx_ND = await pull();
      const all = [value, dx_ND, w_VD.grad as tf.Tensor];
      const [[loss], dx, dw] = (await Promise.all(all.map((y) => y.data()))) as [Float32Array, ...Float32Array[]];
      tf.dispose([value, dx_ND]);
      w_VD.clearGradient();
      return { loss, gradients: [...(dx as Float32Array), ...(dw as Float32Array)] };
    };
    const [whole, quarter] = [await run(1), await run(1 / 4)];
    expect(quarter.loss).toBe(whole.loss);
    expect(quarter.gradients).toEqual(whole.gradients.map((g) => g / 4));
    expect(whole.gradients.every((g) => g !== 0)).toBe(true);
    tf.dispose([x, targets]);
    w_VD.dispose();
  });

  test('the loss alone, for validation, has the same bits, whatever the chunks', async () => {
    const [w, x, targets] = [randn('w', [11, 4]), randn('x', [7, 4]), tf.tensor1d(integers('t', 7, 11), 'int32')];
    const w_VD = Parameter.of('w', w);
    for (const chunkBytes of [twoTokens(11), 1, undefined]) {
      const [value, pull] = await crossEntropy(w_VD, { chunkBytes })(x, targets);
      pull.drop();
      const alone = await expectNoLeak(async () => {
        const [loss, none] = await crossEntropy(w_VD, { chunkBytes })(x, targets, { gradients: false });
        await expect((async () => none())()).rejects.toThrow('without gradients');
        const [number] = await loss.data();
        loss.dispose();
        return number;
      });
      expect(alone).toBe((await value.data())[0]);
      value.dispose();
    }
    tf.dispose([x, targets]);
    w_VD.dispose();
  });
});

test('in bfloat16 the loss and dw are float32, dx is bfloat16, all near those of float32', async () => {
  await useBackend('cpu');
  const [N, V, D] = [6, 20, 8];
  const targets = tf.tensor1d(integers('targets', N, V), 'int32');
  const rounded = [randn('x', [N, D]), randn('w', [V, D])].map((x) => tf.tidy(() => cast(x, 'bfloat16')));
  const run = async (dtype: DType) => {
    const [x_ND, w] = rounded.map((x) => cast(x, dtype)) as [tf.Tensor, tf.Tensor];
    const w_VD = Parameter.of('w', w);
    const [value, pull] = await crossEntropy(w_VD, { chunkBytes: twoTokens(V) })(x_ND, targets, { weight: 0.5 });
    const results = [value, await pull(), (w_VD.grad as tf.Tensor).clone()];
    x_ND.dispose();
    w_VD.dispose();
    return results;
  };
  await expectNoLeak(async () => {
    const [narrow, wide] = [await run('bfloat16'), await run('float32')];
    expect(narrow.map(dtypeOf)).toEqual(['float32', 'bfloat16', 'float32']);
    for (const [i, tolerance] of [BFLOAT16, 2 * BFLOAT16, 2 * BFLOAT16].entries())
      await expectClose(narrow[i] as tf.Tensor, wide[i] as tf.Tensor, tolerance, `result ${i}`);
    tf.dispose([...narrow, ...wide]);
  });
  tf.dispose([targets, ...rounded]);
});

test('on the CPU a chunk of logits is all that a loss takes besides what it returns', async () => {
  await useBackend('cpu');
  const [N, V, D] = [256, 2048, 4];
  const chunkBytes = 4 * 16 * V;
  const [w_VD, x_ND, targets] = [parameter('w', [V, D]), randn('x', [N, D]), tf.zeros([N], 'int32')];
  const before = memory().bytes;
  resetPeak();
  const [value, pull] = await crossEntropy(w_VD, { chunkBytes })(x_ND, targets);
  const returned = 4 * (V * D + N * D);
  expect(memory().peakBytes - before).toBeLessThan(chunkBytes + 3 * returned);
  pull.drop();
  tf.dispose([x_ND, targets, value]);
  w_VD.dispose();
});

test('chunks are equal, all but the last, and as few as the bytes allow', () => {
  expect(lossChunks(10, 8, 4 * 8 * 4)).toEqual([
    [0, 4],
    [4, 4],
    [8, 2],
  ]);
  expect(lossChunks(3, 1000, 1)).toEqual([
    [0, 1],
    [1, 1],
    [2, 1],
  ]);
});
