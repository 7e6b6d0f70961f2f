import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { cast, memory, openBackend, resetPeak } from '../src/index.ts';

beforeAll(() => openBackend({ device: 'cpu' }));

test('bytes are counted at the true dtype', () => {
  const before = memory();
  const x = tf.zeros([10, 10]);
  expect(memory().bytes - before.bytes).toBe(400);
  const narrow = cast(x, 'bfloat16');
  expect(memory().bytes - before.bytes).toBe(600);
  const flags = cast(x, 'bool');
  expect(memory().bytes - before.bytes).toBe(700);
  expect(memory().tensors - before.tensors).toBe(3);
  tf.dispose([x, narrow, flags]);
  expect(memory().bytes).toBe(before.bytes);
  expect(memory().tensors).toBe(before.tensors);
});

test('the peak remembers what was freed, until it is reset', () => {
  resetPeak();
  const { bytes } = memory();
  tf.zeros([1000]).dispose();
  tf.zeros([10]).dispose();
  expect(memory().bytes).toBe(bytes);
  expect(memory().peakBytes - bytes).toBe(4000);
  resetPeak();
  expect(memory().peakBytes).toBe(bytes);
});

test('what a tidy frees only at its end is in the peak together', () => {
  resetPeak();
  const { bytes } = memory();
  tf.tidy(() => {
    const x = tf.ones([100]);
    tf.add(tf.add(x, x), x);
  });
  expect(memory().peakBytes - bytes).toBe(3 * 400);
});
