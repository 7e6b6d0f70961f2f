import { openTokenizer } from '@fourfold/data';
import { createLlama, forward, initialize, initialWeights, type LlamaConfig, MODELS, placeOf } from '@fourfold/model';
import { memory } from '@fourfold/runtime';
import { useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { nextTokenLogits, pickToken, sample } from '../src/index.ts';

beforeAll(() => useBackend('cpu'));
const config: LlamaConfig = { ...(MODELS['nano'] as LlamaConfig), vocabulary: 256 };

function tinyModel() {
  const model = createLlama(config);
  initialize(model, initialWeights(1, config));
  return model;
}

test('the logits after the last token are those of the whole forward pass', async () => {
  const model = tinyModel();
  const tokens_BT = tf.tensor2d([5, 9, 200, 7, 7, 31], [2, 3], 'int32');
  const [x_ND] = await forward(model, tokens_BT, placeOf(model, 2, 3));
  const all_NV = tf.matMul(x_ND as tf.Tensor2D, model.head?.value as tf.Tensor2D, false, true);
  const last_BV = tf.gather(all_NV, tf.tensor1d([2, 5], 'int32'));
  const [ours, whole] = [await (await nextTokenLogits(model, tokens_BT)).data(), await last_BV.data()];
  // Float32, in products of another size: the last bits may differ. Logits here are below 0.3.
  ours.forEach((logit, i) => {
    expect(Math.abs(logit - (whole[i] as number))).toBeLessThan(1e-6);
  });
});

test('the same seed writes the same text, another another, and no tensor stays', async () => {
  const [model, tokenizer] = [tinyModel(), await openTokenizer('bytes')];
  const before = memory().tensors;
  const write = (seed: number) =>
    sample(model, tokenizer, 'Call me ', { tokens: 12, temperature: 1, seed, context: 10 });
  const [first, second, other] = [await write(1), await write(1), await write(2)];
  expect(first.startsWith('Call me ')).toBe(true);
  expect(second).toBe(first);
  expect(other).not.toBe(first);
  expect(memory().tensors).toBe(before);
});

test('a part of a model gives no logits', async () => {
  const model = { ...tinyModel(), head: undefined };
  await expect(nextTokenLogits(model, tf.zeros([1, 1], 'int32'))).rejects.toThrow('whole model');
});

test('a draw takes the token where the sum of probabilities passes it', () => {
  const logits = [0.5, 0.25, 0.25].map(Math.log);
  expect([0, 0.49, 0.51, 0.74, 0.76, 0.999].map((draw) => pickToken(logits, 1, draw))).toEqual([0, 0, 1, 1, 2, 2]);
  expect([0, 0.999].map((draw) => pickToken([1, 3, 2], 0, draw))).toEqual([1, 1]);
  // At half the temperature probabilities are squared: 4/6, 1/6, 1/6.
  expect([0.66, 0.67].map((draw) => pickToken(logits, 0.5, draw))).toEqual([0, 1]);
});
