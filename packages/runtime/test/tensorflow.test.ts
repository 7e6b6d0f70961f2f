import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { attr, cast, dtypeOf, execute, executeMany, memory, onTensorflow, openBackend, read } from '../src/index.ts';
import { tensorflow } from '../src/tensorflow.ts';

const bfloat16 = (values: number[]): tf.Tensor => tf.tidy(() => cast(tf.tensor1d(values), 'bfloat16'));

test('without TensorFlow, what needs it says so', () => {
  expect(onTensorflow()).toBe(false);
  expect(() => tensorflow()).toThrow('this needs TensorFlow, but the backend in use is none: open cpu or cuda');
});

describe('on TensorFlow', () => {
  beforeAll(() => openBackend({ device: 'cpu' }));

  test('dtypeOf tells the true dtype', () => {
    const tensors = [tf.scalar(1), tf.scalar(1, 'int32'), tf.scalar(true, 'bool'), bfloat16([1])];
    expect(tensors.map(dtypeOf)).toEqual(['float32', 'int32', 'bool', 'bfloat16']);
    expect(tensors[3]?.dtype).toBe('float32'); // all that tfjs can be told
    tf.dispose(tensors);
  });

  test('a bfloat16 number comes back as it was: 8 bits of it', async () => {
    const numbers = fc.tuple(fc.integer({ min: -255, max: 255 }), fc.integer({ min: -60, max: 60 }));
    await fc.assert(
      fc.asyncProperty(fc.array(numbers, { minLength: 1 }), async (parts) => {
        const values = parts.map(([significand, exponent]) => significand * 2 ** exponent);
        const x = bfloat16(values);
        expect(Array.from(await read(x), (v) => v + 0)).toEqual(values.map((v) => v + 0)); // -0 is 0 here
        x.dispose();
      }),
    );
  });

  test('casting rounds to the nearest number, and to the even one of two', async () => {
    const x = bfloat16([
      1 + 2 ** -8,
      1 + 3 * 2 ** -8,
      1.004,
      1.003,
      -1.006,
      3e38,
      Number.POSITIVE_INFINITY,
      Number.NaN,
    ]);
    const wanted = [1, 1 + 2 ** -6, 1 + 2 ** -7, 1, -1 - 2 ** -7, 226 * 2 ** 120, Number.POSITIVE_INFINITY, Number.NaN];
    expect(Array.from(await read(x))).toEqual(wanted);
    x.dispose();
  });

  test('cast goes between all dtypes, and shares the data where there is nothing to do', async () => {
    const x = tf.tensor1d([0, 1, 300, -2.75]);
    const results = (['float32', 'bfloat16', 'int32', 'bool'] as const).map((dtype) => cast(x, dtype));
    expect(results.map(dtypeOf)).toEqual(['float32', 'bfloat16', 'int32', 'bool']);
    expect(await Promise.all(results.map(async (y) => Array.from(await read(y))))).toEqual([
      [0, 1, 300, -2.75],
      [0, 1, 300, -2.75],
      [0, 1, 300, -2],
      [0, 1, 1, 1],
    ]);
    expect(results[0]?.dataId).toBe(x.dataId);
    const back = cast(results[2] as tf.Tensor, 'bfloat16');
    expect(Array.from(await read(back))).toEqual([0, 1, 300, -2]);
    tf.dispose([x, back, ...results]);
  });

  test('a clone shares its data, which lives until the last is disposed of', async () => {
    const before = memory();
    const x = bfloat16([1, 2, 3]);
    const y = x.clone();
    expect(memory().bytes - before.bytes).toBe(6);
    x.dispose();
    expect([dtypeOf(y), Array.from(await read(y))]).toEqual(['bfloat16', [1, 2, 3]]);
    y.dispose();
    expect([memory().tensors, memory().bytes]).toEqual([before.tensors, before.bytes]);
  });

  test('tidy frees bfloat16 tensors but the one that is returned', async () => {
    const before = memory();
    const y = tf.tidy(() => {
      const x = bfloat16([1, 2]);
      return execute('AddV2', [x, bfloat16([10, 20])], [attr.type('T', 'bfloat16')]);
    });
    expect(memory().tensors - before.tensors).toBe(1);
    expect(memory().bytes - before.bytes).toBe(4);
    expect(Array.from(await read(y))).toEqual([11, 22]);
    y.dispose();
    expect(memory().bytes).toBe(before.bytes);
  });

  test('execute runs any op by name, executeMany those of several outputs', async () => {
    const x = tf.tensor2d([
      [1, 2],
      [3, 4],
    ]);
    const product = execute(
      'MatMul',
      [x, x],
      [attr.bool('transpose_a', false), attr.bool('transpose_b', true), attr.type('T', 'float32')],
    );
    const k = tf.scalar(1, 'int32');
    const top = executeMany('TopKV2', [x, k], [attr.bool('sorted', true), attr.type('T', 'float32')], 2);
    expect(await product.array()).toEqual([
      [5, 11],
      [11, 25],
    ]);
    expect(await Promise.all(top.map((t) => t.array()))).toEqual([
      [[2], [4]],
      [[1], [1]],
    ]);
    tf.dispose([x, k, product, ...top]);
  });

  test('an op that does not exist, or that its inputs do not fit, is an error and leaves nothing behind', () => {
    const x = tf.tensor1d([1]);
    const before = memory();
    expect(() => execute('NoSuchOp', [x], [])).toThrow('NoSuchOp');
    expect(() => execute('MatMul', [x, x], [attr.type('T', 'float32')])).toThrow('In[0]');
    expect([memory().tensors, memory().bytes]).toEqual([before.tensors, before.bytes]);
    x.dispose();
  });
});
