import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { arrived, cast, copyOut, unpin } from '../src/index.ts';
import { pretendGpu } from './pretended-gpu.ts';
import { expectNoLeak, onBackends, useBackend } from './testing.ts';

const floatsOf = (bytes: Uint8Array<ArrayBuffer>) => [...new Float32Array(bytes.buffer, bytes.byteOffset, 2)];

/** Copies the second and third of four numbers amid other memory, and returns what is there afterwards. */
async function copied(): Promise<number[]> {
  const x = tf.tensor1d([1, 2.5, -3, 4]);
  const memory = new ArrayBuffer(64);
  await copyOut(x, 4, new Uint8Array(memory, 8, 8));
  x.dispose();
  await arrived();
  unpin();
  return [...new Float32Array(memory).subarray(0, 5)];
}

onBackends(() => {
  test('a part of a tensor lands where it belongs, and nothing beside it changes', () =>
    expectNoLeak(async () => expect(await copied()).toEqual([0, 0, 2.5, -3, 0])));

  test('nothing is copied of nothing', async () => {
    const x = tf.tensor1d([1]);
    await copyOut(x, 0, new Uint8Array(0));
    x.dispose();
  });
});

describe('on TensorFlow', () => {
  test('bfloat16 is copied as its two bytes, in pieces where it is large', async () => {
    await useBackend('cpu');
    const wide = tf.range(0, 2 ** 25, 1, 'float32');
    const x = cast(wide, 'bfloat16');
    const bytes = new Uint8Array(2 ** 26);
    await copyOut(x, 0, bytes);
    const halves = new Uint16Array(bytes.buffer);
    expect([halves[1], halves[3]]).toEqual([0x3f80, 0x4040]); // 1 and 3
    expect(halves[2 ** 25 - 1]).toBe(0x4c00); // 2²⁵ - 1, rounded to eight bits
    tf.dispose([wide, x]);
  });

  test('on a GPU it is enqueued, and nobody waits', async () => {
    await useBackend('cpu');
    await pretendGpu(async (gpu) => {
      const x = tf.tidy(() => tf.add(tf.tensor1d([6, 7]), 1));
      const target = new Uint8Array(new ArrayBuffer(16), 8, 8);
      gpu.forget();
      await copyOut(x, 0, target);
      expect(gpu.waits).toEqual([]);
      expect(Object.fromEntries(gpu.calls)).toEqual({ FourfoldCopyInto: 1 });
      expect(floatsOf(target)).toEqual([7, 8]);
      x.dispose();
    });
  });
});
