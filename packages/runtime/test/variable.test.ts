import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { attr, cast, dtypeOf, executeMany, memory, openBackend, read, Variable } from '../src/index.ts';

beforeAll(() => openBackend({ device: 'cpu' }));

/** variable -= amount, in place. */
function subtract(variable: Variable, amount: number): void {
  const x = tf.tidy(() => cast(tf.fill([2], amount), variable.dtype));
  executeMany('AssignSubVariableOp', [variable.handle, x], [attr.type('dtype', variable.dtype)], 0);
  x.dispose();
}

test('a variable starts with the value it is given, and takes others', async () => {
  const start = memory();
  for (const dtype of ['float32', 'bfloat16'] as const) {
    const initial = tf.tidy(() => cast(tf.tensor1d([1, 2]), dtype));
    const variable = new Variable(initial);
    initial.dispose(); // it was the caller's, and is no longer needed
    const [first] = [variable.read()];
    expect([variable.dtype, dtypeOf(first), first.shape]).toEqual([dtype, dtype, [2]]);
    expect(Array.from(await read(first))).toEqual([1, 2]);
    const other = tf.tidy(() => cast(tf.tensor1d([3, 4]), dtype));
    variable.assign(other);
    const second = variable.read();
    expect(Array.from(await read(second))).toEqual([3, 4]);
    tf.dispose([first, other, second]);
    variable.dispose();
  }
  expect([memory().tensors, memory().bytes]).toEqual([start.tensors, start.bytes]);
});

test('kernels update it in place, and what was read before keeps its numbers', async () => {
  const initial = tf.tensor1d([10, 20]);
  const variable = new Variable(initial);
  const before = variable.read();
  subtract(variable, 1);
  const after = variable.read();
  expect(Array.from(await after.data())).toEqual([9, 19]);
  expect(Array.from(await before.data())).toEqual([10, 20]);
  expect(Array.from(await initial.data())).toEqual([10, 20]);
  tf.dispose([initial, before, after]);
  variable.dispose();
});

test('two variables are two, though made alike', async () => {
  const initial = tf.tensor1d([1, 1]);
  const [a, b] = [new Variable(initial), new Variable(initial)];
  subtract(a, 1);
  const values = [a.read(), b.read()];
  expect(await Promise.all(values.map((x) => x.array()))).toEqual([
    [0, 0],
    [1, 1],
  ]);
  tf.dispose([initial, ...values]);
  a.dispose();
  b.dispose();
});

test('a variable counts with its bytes, and not after it is disposed of', () => {
  const before = memory();
  const initial = tf.zeros([100]);
  const variable = new Variable(initial);
  initial.dispose();
  expect(memory().bytes - before.bytes).toBeGreaterThanOrEqual(400);
  expect(memory().bytes - before.bytes).toBeLessThan(410); // the handle is a few more
  variable.dispose();
  expect([memory().tensors, memory().bytes]).toEqual([before.tensors, before.bytes]);
});
