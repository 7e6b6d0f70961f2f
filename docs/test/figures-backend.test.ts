/** The figures' backend. */
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { openCpu } from '../src/figures/backend.ts';

test('it computes, opened once or twice', async () => {
  await openCpu();
  await openCpu();
  expect(tf.getBackend()).toBe('cpu');
  expect(tf.tidy(() => tf.add(1, 2).arraySync())).toBe(3);
});
