import { openBackend } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { axisBack, axisFirst, partsBack, partsFirst } from '../src/nccl/axes.ts';

beforeAll(async () => {
  await openBackend({ device: 'cpu', threads: 1 });
});

/** 0, 1, 2, ... in that shape. */
const numbered = (shape: number[]): tf.Tensor =>
  tf.reshape(
    tf.range(
      0,
      shape.reduce((a, b) => a * b),
    ),
    shape,
  );

/** A shape of 1 to 4 axes, one of them, and a number of parts; that axis has as many places as n parts of d. */
const cases = fc
  .tuple(
    fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 4 }),
    fc.nat(),
    fc.integer({ min: 1, max: 4 }),
  )
  .map(([shape, place, n]) => {
    const axis = place % shape.length;
    return { shape: shape.with(axis, n * (shape[axis] as number)), axis, n };
  });

test('parts along any axis are put along axis 0 as split and stack do it, and come back as they were', () => {
  fc.assert(
    fc.property(cases, ({ shape, axis, n }) => {
      tf.tidy(() => {
        const x = numbered(shape);
        const parts = partsFirst(x, axis, n);
        const expected = tf.stack(tf.split(x, n, axis));
        expect(parts.shape).toEqual(expected.shape);
        expect(parts.dataSync()).toEqual(expected.dataSync());
        const back = partsBack(parts, axis);
        expect(back.shape).toEqual(shape);
        expect(back.dataSync()).toEqual(x.dataSync());
      });
    }),
  );
});

test('an axis goes to the front and back, in the order of the others, and nothing is left in memory', () => {
  fc.assert(
    fc.property(cases, ({ shape, axis }) => {
      const before = tf.memory().numTensors;
      tf.tidy(() => {
        const x = numbered(shape);
        const first = axisFirst(x, axis);
        expect(first.shape).toEqual([shape[axis], ...shape.toSpliced(axis, 1)]);
        const back = axisBack(first, axis);
        expect(back.shape).toEqual(shape);
        expect(back.dataSync()).toEqual(x.dataSync());
      });
      expect(tf.memory().numTensors).toBe(before);
    }),
  );
});
