import { Parameter } from '@fourfold/ops';
import { memory } from '@fourfold/runtime';
import { onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { clipFactorOf } from '../src/clip.ts';
import { clipFactor, squaredNorm } from '../src/index.ts';

const withGradient = (grad: number[] | undefined): Parameter => {
  const parameter = Parameter.of('w', tf.zeros([grad?.length ?? 2]));
  if (grad) parameter.accumulate(tf.tensor1d(grad));
  return parameter;
};

onBackends(() => {
  test('squaredNorm is Σ g² over all parameters that have a gradient', async () => {
    const gradients = fc.array(fc.option(fc.array(fc.integer({ min: -50, max: 50 }), { minLength: 1, maxLength: 9 })), {
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(gradients, async (gradients) => {
        const before = memory();
        const parameters = gradients.map((grad) => withGradient(grad ?? undefined));
        const norm = squaredNorm(parameters);
        expect(norm.shape).toEqual([]);
        const expected = gradients.flatMap((grad) => grad ?? []).reduce((sum, g) => sum + g * g, 0);
        expect((await norm.data())[0]).toBe(expected); // integers below 2^24: no rounding
        norm.dispose();
        for (const parameter of parameters) parameter.dispose();
        expect([memory().tensors, memory().bytes]).toEqual([before.tensors, before.bytes]);
      }),
      { numRuns: 30 },
    );
  });
});

test('gradients of both dtypes count', async () => {
  await useBackend('cpu');
  const parameters = (['float32', 'bfloat16', 'float32'] as const).map((dtype, i) => {
    const one = Parameter.of(`w${i}`, tf.zeros([2]), dtype);
    one.accumulate(tf.tensor1d([i + 1, 2]));
    return Object.assign(one, { replicas: 2 ** i });
  });
  const norm = squaredNorm(parameters);
  expect((await norm.data())[0]).toBe(5 + 8 / 2 + 13 / 4);
  norm.dispose();
  for (const one of parameters) one.dispose();
});

test('a norm above the limit is brought down to it, one below is left alone', () => {
  expect(clipFactor(4, 1)).toBe(0.25);
  expect(clipFactor(1, 1)).toBe(1);
  expect(clipFactor(0.5, 1)).toBe(1);
  expect(clipFactor(0, 1)).toBe(1);
  expect(clipFactor(1e9, 0)).toBe(1); // a limit of 0: no clipping
  fc.assert(
    fc.property(
      fc.double({ min: 1e-6, max: 1e9, noNaN: true }),
      fc.double({ min: 1e-6, max: 1e3, noNaN: true }),
      (norm, limit) => {
        expect(norm * clipFactor(norm, limit)).toBeLessThanOrEqual(limit * (1 + 1e-15) + (norm <= limit ? norm : 0));
      },
    ),
  );
});

test('the factor on the device is that of the number, in float32', async () => {
  await useBackend('wasm');
  for (const [norm, limit] of [
    [4, 1],
    [1, 1],
    [0.5, 1],
    [0, 1],
    [3000, 7],
    [Number.NaN, 1],
  ] as const) {
    const squares = tf.scalar(norm ** 2);
    const factor = clipFactorOf(squares, limit);
    expect((await factor.data())[0]).toBe(Math.fround(clipFactor(norm, limit)));
    tf.dispose([squares, factor]);
  }
});
