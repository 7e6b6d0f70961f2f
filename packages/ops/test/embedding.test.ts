import { cast, type DType, memory, resetPeak } from '@fourfold/runtime';
import { expectNoLeak, onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { embedding, type Layer, Parameter } from '../src/index.ts';
import { checkBfloat16, checkLayer, integers, parameter, randn } from './helpers.ts';

/** embedding(table) on fixed ids, as a layer of no inputs: it has gradients by the table alone. */
const lookup =
  (table_VD: Parameter, ids: tf.Tensor): Layer<readonly tf.Tensor[]> =>
  async () => {
    const [x_ND, pull] = await embedding(table_VD)(ids);
    const backward = async (dx_ND: tf.Tensor) => {
      await pull(dx_ND);
      return [];
    };
    return [x_ND, Object.assign(backward, { drop: pull.drop })];
  };

onBackends(() => {
  test('embedding is a one-hot product, and its gradient is that of tf.grads', async () => {
    const side = fc.integer({ min: 1, max: 12 });
    await fc.assert(
      fc.asyncProperty(side, fc.integer({ min: 2, max: 12 }), side, async (N, V, D) => {
        const table_VD = parameter('table', [V, D]);
        const ids = tf.tensor1d(integers('ids', N, V), 'int32');
        await checkLayer({
          layer: lookup(table_VD, ids),
          inputs: [],
          parameters: [table_VD],
          reference: (_, [w]) => tf.matMul(tf.cast(tf.oneHot(ids, V), 'float32'), w as tf.Tensor),
        });
        ids.dispose();
      }),
      { numRuns: 20 },
    );
  });

  test('ids of any shape are read row by row', async () => {
    const table_VD = parameter('table', [7, 2]);
    const ids = tf.tensor2d(integers('ids', 6, 7), [2, 3], 'int32');
    const flat = tf.reshape(ids, [6]);
    await checkLayer({
      layer: lookup(table_VD, ids),
      inputs: [],
      parameters: [table_VD],
      reference: (_, [w]) => tf.matMul(tf.cast(tf.oneHot(flat, 7), 'float32'), w as tf.Tensor),
    });
    tf.dispose([ids, flat]);
  });

  test('a token that occurs twice gets the sum, one that does not occur gets zero', async () => {
    const table_VD = parameter('table', [4, 2]);
    const ids = tf.tensor1d([2, 0, 2], 'int32');
    const [x_ND, pull] = await embedding(table_VD)(ids);
    const dx_ND = tf.tensor2d([
      [1, 2],
      [3, 4],
      [10, 20],
    ]);
    await pull(dx_ND);
    expect(await table_VD.grad?.array()).toEqual([
      [3, 4],
      [0, 0],
      [11, 22],
      [0, 0],
    ]);
    tf.dispose([ids, x_ND, dx_ND]);
    table_VD.dispose();
  });
});

onBackends(() => {
  test('the gradients of two batches, and of another use of the table, add up', async () => {
    const table_VD = parameter('table', [3, 1]);
    const seen: number[] = [];
    table_VD.onAccumulate = () => seen.push(table_VD.grad?.dataSync()[1] as number);
    table_VD.accumulate(tf.tensor2d([[100], [200], [300]]));
    const dx_ND = tf.tensor2d([[1], [10]]);
    for (const words of [
      [0, 1],
      [1, 1],
    ]) {
      const ids = tf.tensor1d(words, 'int32');
      const [x_ND, pull] = await embedding(table_VD)(ids);
      await pull(dx_ND);
      tf.dispose([ids, x_ND]);
    }
    expect(await table_VD.grad?.array()).toEqual([[101], [221], [300]]);
    expect(seen).toEqual([200, 210, 221]);
    dx_ND.dispose();
    table_VD.dispose();
  });
});

/** Part `index` of a table's rows, of `of`, as a parameter. */
function shardOf(table_VD: tf.Tensor, index: number, of: number, dtype: DType = 'float32'): Parameter {
  const part = new Parameter('part', table_VD.shape);
  part.shard = { axis: 0, index, of };
  const rows = (table_VD.shape[0] as number) / of;
  part.value = tf.tidy(() => cast(tf.slice(table_VD, [index * rows, 0], [rows, -1]), dtype));
  return part;
}

onBackends((backend) => {
  test('of ranks that share out the words one has the row, the others zeros; and that one the gradient', async () => {
    const dtypes = fc.constantFrom<DType>('float32', ...(backend === 'cpu' ? (['bfloat16'] as const) : []));
    const check = async (N: number, V: number, D: number, of: number, dtype: DType) => {
      const rounded = (name: string, shape: number[]) =>
        tf.tidy(() => cast(cast(randn(name, shape), dtype), 'float32'));
      const [whole, dx_ND] = [Parameter.of('table', rounded('table', [V * of, D])), rounded('dx', [N, D])];
      const [ids, narrow_ND] = [tf.tensor1d(integers('ids', N, V * of), 'int32'), cast(dx_ND, dtype)];
      const [x_ND, pull] = await embedding(whole)(ids);
      await pull(dx_ND);
      const parts = Array.from({ length: of }, (_, r) => shardOf(whole.value, r, of, dtype));
      const layers = await Promise.all(parts.map((part) => embedding(part)(ids)));
      for (const [, pull] of layers) await pull(narrow_ND);
      const sum = tf.tidy(() => tf.addN(layers.map(([x]) => cast(x, 'float32'))));
      const grad = tf.concat(parts.map(({ grad }) => grad as tf.Tensor));
      expect(await sum.data()).toEqual(await x_ND.data());
      expect(await grad.data()).toEqual(await whole.grad?.data());
      tf.dispose([ids, dx_ND, narrow_ND, x_ND, sum, grad, ...layers.map(([x]) => x)]);
      for (const one of [whole, ...parts]) one.dispose();
    };
    const side = fc.integer({ min: 1, max: 12 });
    const property = fc.asyncProperty(side, side, side, fc.integer({ min: 1, max: 4 }), dtypes, check);
    await expectNoLeak(() => fc.assert(property, { numRuns: 20 }));
  });
});

test('on the CPU a number that is no word is refused, of a whole table and of a part', async () => {
  await useBackend('cpu');
  const whole = parameter('table', [6, 2]);
  const part = shardOf(whole.value, 1, 2);
  for (const table of [whole, part])
    for (const id of [6, -1]) {
      const ids = tf.tensor1d([0, id], 'int32');
      await expect(embedding(table)(ids)).rejects.toThrow(`FourfoldEmbedding: there is no word ${id} among 6`);
      ids.dispose();
    }
  for (const table of [whole, part]) table.dispose();
});

test('in float32 on the CPU a batch adds its rows to the gradient that is there; no other table is made', async () => {
  await useBackend('cpu');
  const table_VD = parameter('table', [1000, 8]);
  const [ids, dx_ND] = [tf.tensor1d([1, 2, 3], 'int32'), tf.ones([3, 8])];
  const pass = async () => {
    const [x_ND, pull] = await embedding(table_VD)(ids);
    await pull(dx_ND);
    x_ND.dispose();
  };
  await pass();
  const before = memory();
  resetPeak();
  await pass();
  expect(memory().peakBytes - before.bytes).toBeLessThan(4 * 8 * 100);
  expect(memory().bytes).toBe(before.bytes);
  tf.dispose([ids, dx_ND]);
  table_VD.dispose();
});

test('in bfloat16, rows are exact, and a token that occurs once has its exact gradient', async () => {
  await useBackend('cpu');
  const ids = tf.tensor1d([3, 0, 5], 'int32');
  await checkBfloat16({
    layer: ([w]) => lookup(w as Parameter, ids),
    inputs: [],
    weights: [randn('table', [6, 4])],
    tolerance: 0,
  });
  ids.dispose();
});

test('in bfloat16, the gradient of a token that occurs a thousand times is added up in float32', async () => {
  await useBackend('cpu');
  const table_VD = Parameter.of(
    'table',
    tf.tidy(() => cast(randn('table', [2, 1]), 'bfloat16')),
  );
  const ids = tf.zeros([1000], 'int32');
  const [x_ND, pull] = await embedding(table_VD)(ids);
  const dx_ND = tf.tidy(() => cast(tf.ones([1000, 1]), 'bfloat16'));
  await pull(dx_ND);
  expect(Array.from((await table_VD.grad?.data()) ?? [])).toEqual([1000, 0]); // in bfloat16, 256 + 1 is 256
  tf.dispose([ids, x_ND, dx_ND]);
  table_VD.dispose();
});
