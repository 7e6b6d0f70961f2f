import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { type DType, dtypeOf, memory, openBackend, read } from '../src/index.ts';
import { concat, hostInts, ints, ofDType, pad, reshape, slice, transpose } from '../src/shapes.ts';
import { onDtypes, tensorOf } from './tensors.ts';
import { expectNoLeak } from './testing.ts';

const side = fc.integer({ min: 0, max: 4 });
const axis = fc.integer({ min: 0, max: 2 });

onDtypes((name, dtypes) => {
  const dtype = fc.constantFrom<DType>(...dtypes);

  /** Runs `ours` on a tensor of whole numbers, and `plain` on the same in float32. */
  const compare = (shape: number[], type: DType, ours: (x: tf.Tensor) => tf.Tensor, plain: typeof ours) =>
    expectNoLeak(async () => {
      const x = tensorOf(shape, type);
      const wide = tensorOf(shape, 'float32');
      const [y, expected] = [ours(x), plain(wide)];
      expect([y.shape, dtypeOf(y)]).toEqual([expected.shape, type]);
      expect(Array.from(await read(y))).toEqual(Array.from(await expected.data()));
      tf.dispose([x, wide, y, expected]);
    });

  test('slices are those of tf.slice, of every axis, start and length', async () => {
    await fc.assert(
      fc.asyncProperty(fc.tuple(side, side, side), axis, side, side, dtype, async (shape, at, a, b, type) => {
        const start = Math.min(a, shape[at] as number);
        const length = Math.min(b, (shape[at] as number) - start);
        const begin = [0, 1, 2].map((i) => (i === at ? start : 0));
        const size = shape.map((all, i) => (i === at ? length : all));
        await compare(
          shape,
          type,
          (x) => slice(x, at, start, length),
          (x) => tf.slice(x, begin, size),
        );
      }),
      { numRuns: 40 },
    );
  });

  test('a slice of all is the tensor itself, held once more', async () => {
    await expectNoLeak(async () => {
      const x = tensorOf([3, 4], 'float32');
      const y = slice(x, 1, 0, 4);
      expect(y.dataId).toBe(x.dataId);
      x.dispose();
      expect((await y.data())[11]).toBe(11);
      y.dispose();
    });
  });

  test('parts one after the other are those of tf.concat, empty ones too', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(side, side, side),
        axis,
        fc.array(side, { minLength: 1, maxLength: 4 }),
        dtype,
        async (shape, at, lengths, type) => {
          await expectNoLeak(async () => {
            const shapes = lengths.map((length) => shape.map((all, i) => (i === at ? length : all)));
            const parts = shapes.map((one) => tensorOf(one, type));
            const wide = shapes.map((one) => tensorOf(one, 'float32'));
            const [y, expected] = [concat(parts, at), tf.concat(wide, at)];
            expect([y.shape, dtypeOf(y)]).toEqual([expected.shape, type]);
            expect(Array.from(await read(y))).toEqual(Array.from(await expected.data()));
            tf.dispose([parts, wide, y, expected]);
          });
        },
      ),
      { numRuns: 30 },
    );
  });

  test('zeros around are those of tf.pad, along every axis', async () => {
    const some = name === 'wasm' ? fc.integer({ min: 1, max: 4 }) : side;
    await fc.assert(
      fc.asyncProperty(fc.tuple(some, some, some), axis, side, side, dtype, (shape, at, before, after, type) =>
        compare(
          shape,
          type,
          (x) => pad(x, at, before, after),
          (x) =>
            tf.pad(
              x,
              [0, 1, 2].map((i): [number, number] => (i === at ? [before, after] : [0, 0])),
            ),
        ),
      ),
      { numRuns: 30 },
    );
  });

  test('concat of one is itself, held once more, and of none is refused', async () => {
    await expectNoLeak(async () => {
      const x = tensorOf([2], 'float32');
      const y = concat([x], 0);
      x.dispose();
      expect(Array.from(await y.data())).toEqual([0, 1]);
      y.dispose();
    });
    expect(() => concat([], 0)).toThrow('concat of no tensors');
  });

  test('transposing is that of tf.transpose, for every order of axes', async () => {
    const some = name === 'wasm' ? fc.integer({ min: 1, max: 4 }) : side; // tfjs's wasm kernel traps on empty ones
    const order = fc.shuffledSubarray([0, 1, 2], { minLength: 3, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(fc.tuple(some, some, some), order, dtype, (shape, axes, type) =>
        compare(
          shape,
          type,
          (x) => transpose(x, axes),
          (x) => tf.transpose(x, axes),
        ),
      ),
      { numRuns: 30 },
    );
  });

  test.each(['float32', 'bfloat16', 'int32'] as const)(
    'reshaping %s moves nothing, and -1 is what is left',
    async (type) => {
      if (!dtypes.includes(type)) return;
      for (const shape of [[6, 4], [-1, 4], [24], [2, -1], [2, 3, 4], [1, 24, 1]])
        await compare(
          [2, 3, 4],
          type,
          (x) => reshape(x, shape),
          (x) => tf.reshape(x, shape),
        );
      await compare(
        [0, 4],
        type,
        (x) => reshape(x, [4, 0]),
        (x) => tf.reshape(x, [4, 0]),
      );
    },
  );

  test('a reshaped tensor outlives the one that it was', async () => {
    await expectNoLeak(async () => {
      const x = tensorOf([2, 3], 'float32');
      const doubled = tf.mul(x, 2); // lives in the backend's own memory
      const before = memory().bytes;
      const y = reshape(doubled, [3, 2]);
      const same = reshape(doubled, [2, -1]);
      if (name === 'cpu') expect(memory().bytes).toBe(before); // tfjs counts a wasm tensor's bytes for each holder
      tf.dispose([x, doubled]);
      expect(Array.from(await y.data())).toEqual([0, 2, 4, 6, 8, 10]);
      expect(same.shape).toEqual([2, 3]);
      tf.dispose([y, same]);
    });
  });

  test('ints are a 1-d int32 tensor, and hostInts one of any shape', async () => {
    await expectNoLeak(async () => {
      const x = ints(3, -1, 2 ** 31 - 1);
      expect([x.shape, x.dtype, Array.from(await x.data())]).toEqual([[3], 'int32', [3, -1, 2 ** 31 - 1]]);
      const table = hostInts(Int32Array.of(1, 2, 3, 4), [2, 2]);
      expect([table.dtype, await table.array()]).toEqual(['int32', [[1, 2], [3, 4]]]); // biome-ignore format: a table
      tf.dispose([x, table]);
    });
  });
});

describe('attributes', () => {
  beforeAll(() => openBackend({ device: 'cpu' }));
  test('are made once for each dtype', () => {
    const made: DType[] = [];
    const lists = ofDType((dtype) => {
      made.push(dtype);
      return [];
    });
    expect(made).toEqual(['float32', 'bfloat16', 'int32', 'bool']);
    expect(lists.float32).toBe(lists.float32);
    expect(lists.float32).not.toBe(lists.int32);
  });
});
