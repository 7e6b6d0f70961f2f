import { cast, dtypeOf, read } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { divided, reduceTensors } from '../src/tensors.ts';
import { useTensorflow, using } from './worlds.ts';

beforeAll(useTensorflow);

const f32 = Math.fround;
const valuesOf = async (y: Tensor) => Array.from(await read(y));
const bfloat16 = (values: number[]) => tf.tidy(() => cast(tf.tensor1d(values, 'float32'), 'bfloat16'));
/** Numbers of which float32 sums depend on the order; none is subnormal, and no sum of some is. */
const numbers = fc.array(
  fc.integer({ min: -(2 ** 23), max: 2 ** 23 }).map((i) => f32(i / 1000)),
  {
    minLength: 3,
    maxLength: 3,
  },
);

test('sums are taken from the first to the last, each rounded to float32', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(numbers, { minLength: 1, maxLength: 5 }), async (rows) => {
      await expectNoLeak(() =>
        using(
          rows.map((row) => tf.tensor1d(row, 'float32')),
          async (...xs) => {
            const sum = reduceTensors(xs, 'sum');
            const plain = [0, 1, 2].map((i) => rows.map((row) => row[i] as number).reduce((a, b) => f32(a + b)));
            expect((await valuesOf(sum)).map((value) => value + 0)).toEqual(plain.map((value) => value + 0));
            sum.dispose();
          },
        ),
      );
    }),
    { numRuns: 30 },
  );
});

test('bfloat16 is summed in float32, so that small terms count, and rounded once', async () => {
  await expectNoLeak(() =>
    using([bfloat16([256]), ...Array.from({ length: 4 }, () => bfloat16([0.5]))], async (...xs) => {
      const sum = reduceTensors(xs, 'sum'); // 258; in bfloat16, 256 + 0.5 is 256 each time
      expect(dtypeOf(sum)).toBe('bfloat16');
      expect(await valuesOf(sum)).toEqual([258]);
      const mean = reduceTensors(xs, 'mean');
      expect(await valuesOf(mean)).toEqual([51.5]); // 51.6, to eight bits
      tf.dispose([sum, mean]);
    }),
  );
});

test('the mean divides the sum; the largest is one of the numbers; int32 wraps around', async () => {
  await expectNoLeak(() =>
    using([tf.tensor1d([1, -5]), tf.tensor1d([2, -4]), tf.tensor1d([4, -9])], async (...xs) => {
      const results = [reduceTensors(xs, 'mean'), reduceTensors(xs, 'max')];
      expect(await Promise.all(results.map(valuesOf))).toEqual([
        [f32(7 / 3), -6],
        [4, -4],
      ]);
      tf.dispose(results);
    }),
  );
  await using([tf.scalar(2 ** 31 - 1, 'int32'), tf.scalar(2, 'int32')], async (...xs) => {
    const sum = reduceTensors(xs, 'sum');
    expect([sum.dtype, await valuesOf(sum)]).toEqual(['int32', [-(2 ** 31) + 1]]);
    sum.dispose();
  });
});

test('the sum of one is itself, of another holder', async () => {
  await expectNoLeak(async () => {
    const x = tf.tensor1d([3]);
    const y = reduceTensors([x], 'sum');
    x.dispose();
    expect(await valuesOf(y)).toEqual([3]);
    y.dispose();
  });
});

test('divided takes its tensor and leaves the quotient, in the same dtype', async () => {
  await expectNoLeak(async () => {
    const results = [divided(tf.tensor1d([6, 1]), 3), divided(bfloat16([6, 1]), 3)];
    expect(results.map(dtypeOf)).toEqual(['float32', 'bfloat16']);
    expect(await Promise.all(results.map(valuesOf))).toEqual([
      [2, f32(1 / 3)],
      [2, 0.333984375], // 1/3 to eight bits
    ]);
    tf.dispose(results);
  });
});
