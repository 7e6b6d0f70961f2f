import { cast, dtypeOf, memory } from '@fourfold/runtime';
import { onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { kernels, Parameter, partOf } from '../src/index.ts';
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

onBackends(() => {
  test('a gradient may be added where the former ones lie: the same tensor, or one of the same memory', async () => {
    const before = memory().tensors;
    const w = Parameter.of('w', tf.zeros([2]));
    const seen: (number[] | undefined)[] = [];
    w.onAccumulate = () => seen.push(Array.from(w.grad?.dataSync() ?? []));
    const first = tf.tensor1d([1, 2]);
    w.accumulateInto((grad) => {
      expect(grad).toBeUndefined();
      return first;
    });
    w.accumulateInto((grad) => grad as tf.Tensor);
    expect([w.grad, first.isDisposed]).toEqual([first, false]);
    w.accumulateInto((grad) => kernels.share(grad as tf.Tensor));
    expect(first.isDisposed).toBe(true);
    w.accumulate(tf.tensor1d([10, 20]));
    expect(seen).toEqual([
      [1, 2],
      [1, 2],
      [1, 2],
      [11, 22],
    ]);
    w.dispose();
    expect(memory().tensors).toBe(before);
  });
});

test('matrices decay, and the weights of norms do not', () => {
  expect(new Parameter('matrix', [2, 3]).decays).toBe(true);
  expect(new Parameter('norm', [3]).decays).toBe(false);
});

test('its shape is that of the part which this rank holds, its full shape that of the whole', () => {
  const w = new Parameter('w', [6, 4]);
  expect([w.shape, w.fullShape]).toEqual([
    [6, 4],
    [6, 4],
  ]);
  w.shard = { axis: 0, index: 2, of: 3 };
  expect([w.shape, w.fullShape]).toEqual([
    [2, 4],
    [6, 4],
  ]);
  w.shard = { axis: 1, index: 0, of: 2 };
  expect(w.shape).toEqual([6, 2]);
});

test('before it has a value it says so, and so it does when it has none any more', async () => {
  await useBackend('cpu');
  const w = new Parameter('model.norm.weight', [2]);
  const sentence = 'model.norm.weight has no value yet: initialize the model first';
  expect(() => w.value).toThrow(sentence);
  expect(() => w.dtype).toThrow(sentence);
  w.dispose(); // frees nothing
  w.value = tf.ones([2]);
  expect(await w.value.array()).toEqual([1, 1]);
  w.dispose();
  expect(() => w.value).toThrow(sentence);
});

test('a value must have the shape of the part', async () => {
  await useBackend('cpu');
  const w = new Parameter('w', [6, 4]);
  w.shard = { axis: 0, index: 1, of: 3 };
  const [whole, own] = [tf.zeros([6, 4]), tf.zeros([2, 4])];
  expect(() => {
    w.value = whole;
  }).toThrow("w: a tensor of shape [6,4], but this rank's part has [2,4]");
  w.value = own;
  expect(w.value).toBe(own);
  tf.dispose([whole, own]);
});

test('a new value leaves the former one to whoever replaced it', async () => {
  await useBackend('cpu');
  const [first, second] = [tf.zeros([1]), tf.ones([1])];
  const w = Parameter.of('w', first);
  w.value = second;
  expect([first.isDisposed, w.value]).toEqual([false, second]);
  w.dispose();
  expect([first.isDisposed, second.isDisposed]).toEqual([false, true]);
  first.dispose();
});

test('onAccumulate is called after each gradient, which is there by then', async () => {
  await useBackend('cpu');
  const w = Parameter.of('w', tf.zeros([1]));
  const seen: (number | undefined)[] = [];
  w.onAccumulate = () => seen.push(w.grad?.dataSync()[0]);
  w.accumulate(tf.tensor1d([3]));
  expect(seen).toEqual([3]);
  w.accumulate(tf.tensor1d([4]));
  expect(seen).toEqual([3, 7]);
  w.clearGradient();
  expect(seen).toEqual([3, 7]);
  w.dispose();
});

onBackends(() => {
  test("partOf is a rank's part of a tensor, a new one, and the parts together are the tensor", async () => {
    const before = memory().tensors;
    const whole = randn('whole', [4, 6]);
    for (const [axis, of] of [
      [0, 2],
      [0, 4],
      [1, 3],
      [1, 1],
    ] as const) {
      const parts = Array.from({ length: of }, (_, index) => partOf(whole, { axis, index, of }));
      const joined = tf.concat(parts, axis);
      expect(parts[0]?.shape[axis]).toBe((whole.shape[axis] as number) / of);
      expect(await joined.array()).toEqual(await whole.array());
      tf.dispose([joined, ...parts]);
    }
    const all = partOf(whole, undefined);
    whole.dispose();
    expect((await all.data()).length).toBe(24); // it does not depend on the tensor that it was made of
    all.dispose();
    expect(memory().tensors).toBe(before);
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
