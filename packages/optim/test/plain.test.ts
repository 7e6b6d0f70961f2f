import { Parameter } from '@fourfold/ops';
import { keyOf, normals, UserError } from '@fourfold/runtime';
import { expectNoLeak, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { AdamW, squaredNorm } from '../src/index.ts';

const random = (name: string, shape: number[]): tf.Tensor =>
  tf.tensor(normals(keyOf(1, name), 0, tf.util.sizeFromShape(shape)), shape);

/** Weights after five clipped steps, on the backend in use. */
const weights = (): Promise<number[]> =>
  expectNoLeak(async () => {
    const parameters = [Parameter.of('matrix', random('matrix', [6, 5])), Parameter.of('norm', random('norm', [7]))];
    const adam = new AdamW(parameters, { weightDecay: 0.1 });
    for (let step = 0; step < 5; step++) {
      for (const p of parameters) p.accumulate(random(`${p.name} ${step}`, [...p.shape]));
      const squares = squaredNorm(parameters);
      adam.update(0.01, { squares, clip: 1 });
      squares.dispose();
    }
    const values = parameters.flatMap((p) => Array.from(p.value.dataSync()));
    adam.dispose();
    for (const p of parameters) p.dispose();
    return values;
  });

test('without TensorFlow the same steps as with it', async () => {
  await useBackend('wasm');
  const plain = await weights();
  await useBackend('cpu');
  // Numbers up to 3, rounded at 1.2e-7 in each of five steps.
  for (const [i, w] of (await weights()).entries()) expect(Math.abs(w - (plain[i] as number))).toBeLessThan(6e-7);
});

test('without TensorFlow there is no bfloat16', async () => {
  await useBackend('wasm');
  expect(() => new AdamW([], { moments: 'bfloat16' })).toThrow(
    new UserError('moments=bfloat16 needs TensorFlow: use float32, or device cpu or cuda'),
  );
});
