import { onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chain, mergeHeads, splitHeads } from '../src/index.ts';
import { checkBfloat16, checkLayer, randn, single } from './helpers.ts';

const side = fc.integer({ min: 1, max: 5 });

onBackends(() => {
  test('head h of token t of sequence b is columns h·K to (h + 1)·K of row b·T + t', async () => {
    const [B, T, H, K] = [2, 3, 4, 5];
    const x_ND = randn('x', [B * T, H * K]);
    const [y_BTHK, pull] = await splitHeads(B, T, K)(x_ND);
    const [x, y] = [await x_ND.array(), await y_BTHK.array()] as [number[][], number[][][][]];
    expect(y_BTHK.shape).toEqual([B, T, H, K]);
    for (const [b, h, t] of [
      [0, 0, 0],
      [1, 2, 1],
      [1, 3, 2],
      [0, 3, 1],
    ] as const)
      expect(y[b]?.[t]?.[h]).toEqual(x[b * T + t]?.slice(h * K, (h + 1) * K));
    pull.drop();
    tf.dispose([x_ND, y_BTHK]);
  });

  test('splitting and merging only reshape, and so does backward', async () => {
    await fc.assert(
      fc.asyncProperty(side, side, side, side, async (B, T, H, K) => {
        await checkLayer({
          layer: single(splitHeads(B, T, K)),
          inputs: [randn('x', [B * T, H * K])],
          reference: ([x]) => tf.reshape(x as tf.Tensor, [B, T, H, K]),
        });
        await checkLayer({
          layer: single(mergeHeads),
          inputs: [randn('x', [B, T, H, K])],
          reference: ([x]) => tf.reshape(x as tf.Tensor, [B * T, H * K]),
        });
      }),
      { numRuns: 10 },
    );
  });

  test('merging undoes splitting', async () => {
    const x_ND = randn('x', [6, 20]);
    const [y_ND, pull] = await chain(splitHeads(2, 3, 5), mergeHeads)(x_ND);
    expect(await y_ND.data()).toEqual(await x_ND.data());
    pull.drop();
    tf.dispose([x_ND, y_ND]);
  });
});

test('in bfloat16 nothing is rounded', async () => {
  await useBackend('cpu');
  await checkBfloat16({ layer: () => single(splitHeads(2, 3, 5)), inputs: [randn('x', [6, 20])], tolerance: 0 });
});
