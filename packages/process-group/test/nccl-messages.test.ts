import { cast, openBackend } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { planOf } from '../src/nccl/messages.ts';

beforeAll(async () => {
  await openBackend({ device: 'cpu', threads: 1 });
});

test('tensors are sorted by dtype; the plan keeps the order of the messages, and says where results belong', () => {
  const [ints, floats] = [tf.zeros([2], 'int32'), tf.zeros([3])];
  const halves = cast(floats, 'bfloat16');
  const { inputs, counts, plan, order } = planOf([
    { send: ints, to: 1 },
    { receiveFrom: 2, like: { shape: [4, 5], dtype: 'int32' } },
    { send: halves, to: 2 },
    { receiveFrom: 3, like: { shape: [], dtype: 'float32' } },
    { send: floats, to: 1 },
    { receiveFrom: 2, like: { shape: [6], dtype: 'bfloat16' } },
    { receiveFrom: 0, like: { shape: [0], dtype: 'float32' } },
  ]);
  expect(inputs).toEqual([floats, halves, ints]);
  expect(counts).toEqual({ F: 1, H: 1, I: 1, P: 2, Q: 1, R: 1 });
  expect(plan).toEqual(
    [
      [0, 2, 1],
      [1, 2, 2, 2, 4, 5],
      [0, 1, 2],
      [1, 0, 3, 0],
      [0, 0, 1],
      [1, 1, 2, 1, 6],
      [1, 0, 0, 1, 0],
    ].flat(),
  );
  expect(order).toEqual([1, 3, 2, 0]); // float32: the 2nd and 4th receive; bfloat16: the 3rd; int32: the 1st
});
