import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { timeOps } from '../src/device-times.ts';
import { attr, execute, executeMany, openBackend } from '../src/index.ts';
import { withClock } from './testing.ts';

beforeAll(() => openBackend({ device: 'cpu' }));

const negative = (x: tf.Tensor): tf.Tensor => execute('Neg', [x], [attr.type('T', 'float32')]);

test('without a GPU there is nothing to time', () => {
  expect(() => timeOps()).toThrow("a GPU's times can only be taken on one: open cuda");
});

test('every op is timed from its mark before to its mark after, from the mark that began it all', async () => {
  const x = tf.tensor1d([1, 2]);
  await withClock(async () => {
    const { base, stop } = timeOps();
    expect(base).toBe(0);
    const y = negative(x);
    const halves = executeMany(
      'Split',
      [tf.scalar(0, 'int32'), x],
      [attr.int('num_split', 2), attr.type('T', 'float32')],
      2,
    );
    expect(await Promise.all([y, ...halves].map((one) => one.array()))).toEqual([[-1, -2], [1], [2]]);
    tf.dispose([y, halves]);
    const ops = stop();
    negative(x).dispose(); // after it, nothing is timed
    expect(ops).toEqual([
      { op: 'Neg', start: 1, end: 2 },
      { op: 'Split', start: 3, end: 4 },
    ]);
  });
  x.dispose();
});

test('who looks on sees each op before it runs, and its outputs after', async () => {
  const x = tf.tensor1d([1, 2]);
  const seen: unknown[] = [];
  await withClock(async () => {
    const { stop } = timeOps((op, attributes, inputs) => {
      seen.push([op, attributes.map(({ name }) => name), inputs.map(({ shape }) => shape)]);
      return (outputs) => seen.push(outputs.map(({ shape }) => shape));
    });
    negative(x).dispose();
    expect(stop()).toEqual([{ op: 'Neg', start: 1, end: 2 }]);
  });
  expect(seen).toEqual([['Neg', ['T'], [[2]]], [[2]]]);
  x.dispose();
});

test('marks do not say whose they are, so that ops are timed once at a time', async () => {
  await withClock(async () => {
    const { stop } = timeOps();
    expect(() => timeOps()).toThrow('ops are being timed already: end that first');
    stop();
    timeOps().stop();
  });
});
