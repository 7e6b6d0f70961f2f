import { join } from 'node:path';
import { openSafetensors } from '@fourfold/checkpoint';
import { parameterShapes } from '@fourfold/model';
import { keyOf, normals } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { writeGradients } from '../src/index.ts';
import { folder, onRanks } from './ranks.ts';

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
