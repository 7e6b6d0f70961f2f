import { cast, dtypeOf, memory } from '@fourfold/runtime';
import { onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { Parameter } from '../src/index.ts';
import { randn } from './helpers.ts';

onBackends(() => {
  test('gradients add up, and each is taken over', async () => {
    const before = memory().tensors;
    const w = Parameter.of('w', randn('w', [2, 3]));
    expect([w.name, w.shape, w.dtype, w.grad, w.shard]).toEqual(['w', [2, 3], 'float32', undefined, undefined]);
    const first = tf.tensor2d([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    const second = tf.tensor2d([
      [10, 20, 30],
      [40, 50, 60],
    ]);
    w.accumulate(first);
    w.accumulate(second);
    expect([first.isDisposed, second.isDisposed]).toEqual([true, true]);
    expect(await w.grad?.array()).toEqual([
      [11, 22, 33],
      [44, 55, 66],
    ]);
    expect(memory().tensors - before).toBe(2); // the value and the gradient
    w.dispose();
    expect(memory().tensors).toBe(before);
  });

  test('a cleared gradient starts anew, and clearing none is nothing', async () => {
    const w = Parameter.of('w', tf.zeros([1]));
    w.clearGradient();
    w.accumulate(tf.tensor1d([3]));
    w.clearGradient();
    expect(w.grad).toBeUndefined();
    w.accumulate(tf.tensor1d([4]));
    expect(await w.grad?.array()).toEqual([4]);
    w.dispose();
  });

  test('a gradient that another holder shares stays alive for it', async () => {
    const w = Parameter.of('w', tf.zeros([2]));
    const g = tf.tensor1d([1, 2]);
    const mine = g.clone();
    w.accumulate(g);
    w.dispose();
    expect(await mine.array()).toEqual([1, 2]);
    mine.dispose();
  });
});

test('bfloat16 gradients are added up in float32', async () => {
  await useBackend('cpu');
  const before = memory();
  const w = Parameter.of(
    'w',
    tf.tidy(() => cast(tf.ones([1]), 'bfloat16')),
  );
  const one = tf.tidy(() => cast(tf.ones([1]), 'bfloat16'));
  for (let i = 0; i < 1000; i++) w.accumulate(one.clone());
  expect(w.dtype).toBe('bfloat16');
  expect(dtypeOf(w.grad as tf.Tensor)).toBe('float32');
  expect(await w.grad?.array()).toEqual([1000]); // bfloat16 itself stops at 256: 256 + 1 rounds to 256
  one.dispose();
  w.dispose();
  expect(memory().tensors).toBe(before.tensors);
  expect(memory().bytes).toBe(before.bytes);
});
