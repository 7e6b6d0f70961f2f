import { type DType, dtypeOf, read } from '@fourfold/runtime';
import { bytesOf } from '@fourfold/runtime/bytes';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { cut, join } from '../src/tcp/parts.ts';
import { tensorOf } from './collectives.ts';
import { useTensorflow } from './worlds.ts';

beforeAll(useTensorflow);

const side = fc.integer({ min: 0, max: 5 });
const dtype = fc.constantFrom<DType>('float32', 'int32', 'bfloat16');

/** The same numbers in a dtype that tfjs knows. */
const plainOf = async (x: Tensor) =>
  x.dtype === 'int32' ? x.clone() : tf.tensor(Float32Array.from(await read(x)), x.shape);

async function bytes(x: Tensor): Promise<Uint8Array> {
  const { view, giveBack } = await bytesOf(x);
  const copy = Uint8Array.from(view);
  giveBack();
  return copy;
}

test('the parts of a tensor are its slices along the axis, in order', async () => {
  const shapes = fc.tuple(side, side, side, fc.integer({ min: 0, max: 2 }), fc.integer({ min: 1, max: 4 }));
  await fc.assert(
    fc.asyncProperty(shapes, dtype, async ([a, b, c, axis, n], type) => {
      await expectNoLeak(async () => {
        const shape = [a, b, c].map((length, i) => (i === axis ? length * n : length));
        const x = tensorOf('x', 0, shape, type);
        const { views, giveBack } = await cut(x, axis, n);
        expect(views.length).toBe(n);
        const wide = await plainOf(x);
        const parts = tf.split(wide, n, axis);
        for (const [i, part] of parts.entries()) {
          const whole = join(part.shape, 0, [part.shape[0] as number], type);
          if (whole.views[0]?.length) whole.views[0].set(views[i] as Uint8Array);
          const own = whole.finish();
          expect(Array.from(await read(own))).toEqual(Array.from(await part.data()));
          own.dispose();
        }
        giveBack();
        tf.dispose([x, wide, parts]);
      });
    }),
    { numRuns: 40 },
  );
});

test('parts that are joined are tf.concat of them, also where they differ in length or are empty', async () => {
  const sizes = fc.array(side, { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(side, side, fc.integer({ min: 0, max: 2 }), sizes, dtype, async (a, b, axis, lengths, type) => {
      await expectNoLeak(async () => {
        const shapeOf = (length: number) => [...[a, b].slice(0, axis), length, ...[a, b].slice(axis)];
        const parts = lengths.map((length, i) => tensorOf('part', i, shapeOf(length), type));
        const joint = join(shapeOf(1), axis, lengths, type);
        for (const [i, part] of parts.entries()) joint.views[i]?.set(await bytes(part));
        const whole = joint.finish();
        expect(whole.shape).toEqual(shapeOf(lengths.reduce((sum, length) => sum + length)));
        expect(dtypeOf(whole)).toBe(type);
        const wide = await Promise.all(parts.map(plainOf));
        const plain = tf.concat(wide, axis);
        expect(Array.from(await read(whole))).toEqual(Array.from(await plain.data()));
        tf.dispose([parts, whole, wide, plain]);
      });
    }),
    { numRuns: 40 },
  );
});

test('along the first axis nothing is copied: the parts are views of one memory', async () => {
  const x = tensorOf('x', 0, [4, 3], 'float32');
  for (const [shaped, axis] of [
    [x, 0],
    [tf.reshape(x, [1, 1, 12]), 2],
  ] as const) {
    const { views, giveBack } = await cut(shaped, axis, 4);
    expect(new Set(views.map(({ buffer }) => buffer)).size).toBe(1);
    expect(views.map(({ byteOffset }) => byteOffset)).toEqual([0, 12, 24, 36]);
    giveBack();
    expect(views.map(({ length }) => length)).toEqual([0, 0, 0, 0]); // lent no more
    if (shaped !== x) shaped.dispose();
  }
  const { views } = join([1, 3], 0, [1, 2], 'float32');
  expect(views.map(({ byteOffset, length }) => [byteOffset, length])).toEqual([
    [0, 12],
    [12, 24],
  ]);
  x.dispose();
});
