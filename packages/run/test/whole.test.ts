import { join } from 'node:path';
import { openSafetensors } from '@fourfold/checkpoint';
import { parameterShapes } from '@fourfold/model';
import { keyOf, normals } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { bitsPerByte, writeGradients, writeSample } from '../src/index.ts';
import { folder, onRanks, setupOf } from './ranks.ts';

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

test('two ranks write what one writes; only the first has the text', async () => {
  const settings = { sampleTokens: 12, temperature: 0, prompt: 'It' };
  const [one] = await onRanks(settings, (rank) => expectNoLeak(() => writeSample(rank)));
  const [first, second] = await onRanks({ ...settings, tp: 2 }, writeSample);
  expect(one).toMatch(/^It./s);
  expect([first, second]).toEqual([one, undefined]);
});

test('the gradients in the file are the whole ones', async () => {
  const path = join(folder, 'gradients.safetensors');
  const shapes = await onRanks({ tp: 2 }, async (rank) => {
    for (const one of rank.parameters)
      for (let use = 0; use < one.uses; use++) {
        const size = one.fullShape.reduce((a, b) => a * b, 1);
        const whole = tf.tensor(normals(keyOf(use, one.name), 0, size), [...one.fullShape]);
        const { shard } = one;
        one.accumulate(shard ? (tf.split(whole, shard.of, shard.axis)[shard.index] as tf.Tensor) : whole);
      }
    await rank.data.reduced();
    await writeGradients(rank, path);
    return parameterShapes(rank.setup.shape);
  });
  const file = await openSafetensors(path);
  for (const [name, shape] of shapes[0] ?? []) {
    const size = shape.reduce((a, b) => a * b, 1);
    expect(file.info(name).shape).toEqual(shape);
    if (name !== 'model.embed_tokens.weight' && !name.includes('norm'))
      // summed over uses, over tp
      expect(await file.read(name)).toEqual(normals(keyOf(0, name), 0, size));
  }
  await file.close();
});
