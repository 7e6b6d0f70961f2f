import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { hostFloats, readLater } from '../src/index.ts';
import { expectNoLeak, onBackends, useBackend } from './testing.ts';

onBackends(() => {
  test('a tensor may be disposed of as soon as its numbers are asked for', () =>
    expectNoLeak(async () => {
      const x = tf.tidy(() => tf.add(tf.tensor1d([1, 2, 3]), 0.5));
      const reading = readLater(x);
      x.dispose();
      expect(Array.from(await reading)).toEqual([1.5, 2.5, 3.5]);
    }));
});

test('numbers for kernels are the bits of float32, in the host’s memory', async () => {
  await useBackend('cpu');
  const x = hostFloats([1, -0.1, 1e-30, Number.NaN]);
  expect([x.dtype, x.shape]).toEqual(['int32', [4]]);
  expect(new Float32Array((await x.data<'int32'>()).slice().buffer)).toEqual(
    Float32Array.of(1, -0.1, 1e-30, Number.NaN),
  );
  x.dispose();
});
