import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { profileDevice, summarize } from '../src/device-profile.ts';
import { type Attribute, attr, cast, execute, executeMany, memory, openBackend } from '../src/index.ts';
import { tensorflow } from '../src/tensorflow.ts';
import { withClock } from './testing.ts';

beforeAll(() => openBackend({ device: 'cpu' }));

const product = (a: tf.Tensor, b: tf.Tensor, transpose: boolean) =>
  execute(
    'MatMul',
    [a, b],
    [attr.bool('transpose_a', transpose), attr.bool('transpose_b', false), attr.type('T', 'float32')],
  );

test('without a GPU there is nothing to time', async () => {
  await expect(profileDevice(async () => {})).rejects.toThrow("a GPU's times can only be taken on one: open cuda");
});

test('an op has the time between its marks, and what lies between ops is idle', () => {
  const work = (op: string, start: number, end: number) => ({ op, start, end, flops: 10, bytes: 7 });
  const profile = summarize([work('A', 1, 3), work('B', 3.5, 4.5), work('A', 6, 10)]);
  expect(profile).toEqual({
    ops: [
      { op: 'A', calls: 2, milliseconds: 6, flops: 20, bytes: 14 },
      { op: 'B', calls: 1, milliseconds: 1, flops: 10, bytes: 7 },
    ],
    milliseconds: 9,
    idle: 2,
  });
  expect(summarize([])).toEqual({ ops: [], milliseconds: 0, idle: 0 });
});

test('every op is marked before and after; products count in operations, all in bytes of true dtypes', async () => {
  const [a, b] = [tf.ones([30, 20]), tf.ones([30, 50])];
  const { ops, milliseconds, idle } = await withClock(() =>
    profileDevice(async () => {
      const y = product(a, b, true); // [20, 50], sums of 30
      const short = cast(y, 'bfloat16');
      tf.dispose([y, short]);
    }),
  );
  expect(ops).toEqual([
    { op: 'MatMul', calls: 1, milliseconds: 1, flops: 2 * 20 * 50 * 30, bytes: 4 * (600 + 1500 + 1000) },
    { op: 'Cast', calls: 1, milliseconds: 1, flops: 0, bytes: (4 + 2) * 1000 },
  ]);
  expect({ milliseconds, idle }).toEqual({ milliseconds: 3, idle: 1 });
  tf.dispose([a, b]);
});

// Ops that only GPUs have: a binding that does nothing takes them, and what is counted can be seen without one.
async function counted(op: string, shapes: number[][], attributes: Attribute[], outputs: number[][] = []) {
  const backend = tensorflow();
  const inputs = shapes.map((shape) => cast(tf.zeros(shape), 'bfloat16'));
  const { binding } = backend;
  const executeOp = () => outputs.map((shape, id) => ({ id: 1e6 + id, shape, dtype: 14 }));
  backend.binding = Object.create(binding, { executeOp: { value: executeOp }, deleteTensor: { value: () => {} } });
  try {
    const run = async () => tf.dispose(executeMany(op, inputs, attributes, outputs.length));
    const { ops } = await withClock(() => profileDevice(run));
    return ops[0];
  } finally {
    backend.binding = binding;
    tf.dispose(inputs);
  }
}

test('attention: two products forward, five backward, and half of each under a causal mask', async () => {
  const [q, k] = [[2, 8, 4, 16], [2, 8, 1, 16]]; // biome-ignore format: B, T, heads, K
  const forward = await counted('FourfoldAttention', [q, k, k], [attr.bool('causal', false)], [q]);
  expect(forward?.flops).toBe(2 * (2 * 2 * 4 * 8 * 8 * 16));
  expect(forward?.bytes).toBe(2 * (2 * (2 * 8 * 4 * 16) + 2 * (2 * 8 * 16)));
  const backward = await counted('FourfoldAttentionGrad', [q, q, k, k, q], [attr.bool('causal', true)], [q, k, k]);
  expect(backward?.flops).toBe((5 / 2) * (2 * 2 * 4 * 8 * 8 * 16));
});

test("a product's sum is along its first factor's last axis, transposed the one before", async () => {
  const flops = async (transpose: boolean) =>
    (await counted('FourfoldProduct', [[6, 10]], [attr.bool('transpose_a', transpose)], [[3, 7]]))?.flops;
  expect([await flops(false), await flops(true)]).toEqual([2 * 21 * 10, 2 * 21 * 6]);
});

test('AdamW reads all that it is given and writes weights, masters and moments', async () => {
  const [N, K] = [attr.int('N', 1), attr.int('K', 1)];
  const adamw = await counted('FourfoldAdamW', [[10], [10], [10], [10], [10]], [N, K]); // w, master, m, v, gradient
  expect(adamw?.bytes).toBe(2 * 10 * (5 + 4));
});

test('it changes no result, leaves no tensor, and marks nothing afterwards, also where the work throws', async () => {
  const x = tf.tensor2d([[1, 2], [3, 4]]); // biome-ignore format: rows
  const before = memory();
  await withClock(async () => {
    const failing = profileDevice(async () => {
      const y = product(x, x, false);
      expect(await y.array()).toEqual([[7, 10], [15, 22]]); // biome-ignore format: rows
      y.dispose();
      throw new Error('out of luck');
    });
    await expect(failing).rejects.toThrow('out of luck');
    product(x, x, false).dispose();
    expect(tensorflow().cuda?.marks()).toHaveLength(3);
  });
  expect([memory().tensors, memory().bytes]).toEqual([before.tensors, before.bytes]);
  x.dispose();
});
