import { cast, dtypeOf, read } from '@fourfold/runtime';
import { expectNoLeak, onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { flatten, Parameter, rangesIn, rangesOf, unflatten } from '../src/index.ts';
import { randn } from './helpers.ts';

const shapes = fc.array(fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 3 }), {
  minLength: 1,
  maxLength: 6,
});

onBackends(() => {
  test('end to end and back is what it was, whatever zeros are behind', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.nat(7), async (shapes, padding) => {
        await expectNoLeak(async () => {
          const xs = shapes.map((shape, i) => randn(`${i}`, shape));
          const size = xs.reduce((sum, x) => sum + x.size, 0);
          const flat = flatten(xs, size + padding);
          expect(Array.from(await flat.data()).slice(size)).toEqual(Array(padding).fill(0));
          const back = unflatten(flat, shapes);
          for (const [i, x] of xs.entries()) {
            expect(back[i]?.shape).toEqual(x.shape);
            expect(await back[i]?.data()).toEqual(await x.data());
          }
          tf.dispose([flat, ...xs, ...back]);
        });
      }),
      { numRuns: 20 },
    );
  });
});

test('bfloat16 stays bfloat16, zeros too', async () => {
  await useBackend('cpu');
  const x = tf.tidy(() => cast(tf.tensor1d([1, 2, 3]), 'bfloat16'));
  const flat = flatten([x], 4);
  expect([dtypeOf(flat), ...(await read(flat))]).toEqual(['bfloat16', 1, 2, 3, 0]);
  tf.dispose([x, flat]);
});

test('equal stretches have each element once, where it lies', () => {
  fc.assert(
    fc.property(shapes, fc.integer({ min: 1, max: 5 }), (shapes, parts) => {
      const parameters = shapes.map((shape, i) => new Parameter(`${i}`, shape));
      const all = parameters.flatMap((one) =>
        Array.from({ length: tf.util.sizeFromShape([...one.shape]) }, (_, e) => [one, e]),
      );
      const length = Math.ceil(all.length / parts);
      for (let part = 0; part < parts; part++) {
        const found = rangesIn(parameters, part * length, length).flatMap(({ of, from, to, at }) =>
          Array.from({ length: to - from }, (_, i) => [at + i, of, from + i]),
        );
        const expected = all.slice(part * length, (part + 1) * length).map(([one, e], i) => [i, one, e]);
        expect(found).toEqual(expected);
      }
    }),
  );
});

test("a parameter is made of itself, and ZeRO's of what it says", () => {
  const plain = new Parameter('w', [2, 3]);
  expect(rangesOf(plain)).toEqual([{ of: plain, from: 0, to: 6, at: 0 }]);
  const part = new Parameter('part', [2]);
  part.ranges = [{ of: plain, from: 4, to: 6, at: 0 }];
  expect(rangesOf(part)).toBe(part.ranges);
});
