import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { attr, execute, memory, openBackend, profileOps } from '../src/index.ts';

test('without TensorFlow there is nothing to time', async () => {
  await expect(profileOps(async () => {})).rejects.toThrow('this needs TensorFlow');
});

describe('on TensorFlow', () => {
  beforeAll(() => openBackend({ device: 'cpu' }));
  const product = (a: tf.Tensor, b: tf.Tensor) =>
    execute(
      'MatMul',
      [a, b],
      [attr.bool('transpose_a', false), attr.bool('transpose_b', false), attr.type('T', 'float32')],
    );

  test('every op is counted and timed, the longest first', async () => {
    const x = tf.ones([400, 400]);
    const start = performance.now();
    const times = await profileOps(async () => {
      tf.tidy(() => {
        const y = product(product(x, x), x);
        for (let i = 0; i < 5; i++) execute('Neg', [tf.slice(y, [0, 0], [1, 1])], [attr.type('T', 'float32')]);
      });
    });
    const wall = performance.now() - start;
    x.dispose();
    const calls = Object.fromEntries(times.map((time) => [time.op, time.calls]));
    expect(calls).toMatchObject({ MatMul: 2, Neg: 5 });
    expect(times[0]?.op).toBe('MatMul'); // 0.26 GFLOP, against single numbers
    const milliseconds = times.map((time) => time.milliseconds);
    expect(milliseconds).toEqual(milliseconds.toSorted((a, b) => b - a));
    expect(Math.min(...milliseconds)).toBeGreaterThan(0);
    expect(milliseconds.reduce((a, b) => a + b)).toBeLessThan(wall);
  });

  test('it changes no result, leaves no tensor, and times nothing afterwards', async () => {
    const x = tf.tensor2d([[1, 2], [3, 4]]); // biome-ignore format: rows
    const before = memory();
    let values: unknown;
    const times = await profileOps(async () => {
      const y = product(x, x);
      values = await y.array();
      y.dispose();
    });
    const recorded = structuredClone(times);
    product(x, x).dispose();
    expect(values).toEqual([[7, 10], [15, 22]]); // biome-ignore format: rows
    expect(times).toEqual(recorded);
    expect([memory().tensors, memory().bytes]).toEqual([before.tensors, before.bytes]);
    x.dispose();
  });

  test('where the work throws, the error is passed on and the timing ends', async () => {
    const x = tf.ones([2, 2]);
    const failing = profileOps(async () => {
      throw new Error('out of luck');
    });
    await expect(failing).rejects.toThrow('out of luck');
    const times = await profileOps(async () => product(x, x).dispose());
    expect(times).toMatchObject([{ op: 'MatMul', calls: 1 }]); // once: no timer was left around the next
    x.dispose();
  });
});
