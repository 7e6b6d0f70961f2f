import { spmd } from '@fourfold/process-group';
import { useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { bitsPerByte, figures } from '../src/index.ts';
import { setupOf } from './ranks.ts';

beforeAll(() => useBackend('cpu'));

test('tokens a second are those of the global batch', async () => {
  const setup = await setupOf({ dp: 2, gradAccSteps: 3 });
  const something = tf.zeros([1000]);
  const [said] = await spmd(1, async (world) => figures(setup, world, 250));
  something.dispose();
  expect(said).toMatchObject({ tokensPerSecond: (2 * 2 * 3 * 32) / 0.25, milliseconds: 250 });
  expect(said?.memoryBytes).toBeGreaterThan(0);
  setup.text.close();
});

test('bits per byte: a token of one byte with a loss of ln 256 takes 8', async () => {
  const setup = await setupOf();
  expect(bitsPerByte(Math.log(256), setup)).toBeCloseTo(8, 12);
  const twice = {
    ...setup,
    text: { ...setup.text, validation: { ...setup.text.validation, count: 2 * setup.text.validation.count } },
  };
  expect(bitsPerByte(Math.log(256), twice)).toBeCloseTo(16, 12); // as if a byte were two tokens
  setup.text.close();
});
