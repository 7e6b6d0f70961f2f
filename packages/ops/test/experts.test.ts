/** Experts as one op against all of them computed for every row by tfjs-core. */
import { read } from '@fourfold/runtime';
import { stockKernels } from '@fourfold/runtime/tensorflow';
import { expectNoLeak, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { type Activations, expertsProduct, packWeight, rowBytes, type WeightFormat } from '../src/index.ts';
import { distance, tensorOf, weightBytes } from './quantized.ts';

beforeAll(() => useBackend('cpu'));

const [D, F, E] = [64, 96, 5];

interface Case {
  readonly format: WeightFormat;
  readonly activations: Activations;
  readonly active: number;
  readonly normalized: boolean;
  /** Which experts are here. */
  readonly first?: number;
  readonly count?: number;
  readonly rows?: number;
  readonly onto?: boolean;
  readonly gelu?: boolean;
}

/** Rows of y; x is normalized first. */
async function experts({
  format,
  first = 0,
  count = E,
  rows = 11,
  onto = true,
  ...options
}: Case): Promise<number[][]> {
  return expectNoLeak(async () => {
    const matrix = (name: string, O: number, I: number) => {
      const bytes = rowBytes(format, I) * O;
      return packWeight(
        format,
        O,
        I,
        weightBytes(format, E * O * I, name).slice(first * bytes, (first + count) * bytes),
        count,
      );
    };
    const [up_E2FD, down_EDF] = [matrix('up', 2 * F, D), matrix('down', D, F)];
    const take = (name: string, columns: number) => tf.slice(tensorOf(name, [11, columns]), [0, 0], [rows, -1]);
    const y = tf.tidy(() =>
      expertsProduct(
        take('x', D),
        take('logits', E),
        { up_E2FD, down_EDF },
        {
          ...options,
          first,
          norm: { gain_I: tensorOf('gain', [D]), epsilon: 1e-5 },
          onto_ND: onto ? take('onto', D) : undefined,
        },
      ),
    );
    const values = Array.from(await read(y));
    y.dispose();
    up_E2FD.dispose();
    down_EDF.dispose();
    return Array.from({ length: rows }, (_, n) => values.slice(n * D, (n + 1) * D));
  });
}

const CASES: Case[] = [
  { format: 'f32', activations: 'float32', active: 2, normalized: true },
  { format: 'bf16', activations: 'float32', active: 1, normalized: false },
  { format: 'q40', activations: 'float32', active: 2, normalized: false },
  { format: 'q40', activations: 'q80', active: 2, normalized: true },
  { format: 'q80', activations: 'q80', active: 5, normalized: true },
  { format: 'f32', activations: 'float32', active: 2, normalized: false, gelu: true },
  { format: 'q41', activations: 'q80', active: 3, normalized: true, first: 1, count: 2, onto: false },
];

test.each(CASES)('experts %o: what tfjs-core gives', async (one) => {
  const actual = await experts(one);
  const expected = await stockKernels(() => experts(one));
  // float32's roundings; where x or hidden is rounded to Q80, one that lies at the edge may fall to the other side
  expect(distance(actual.flat(), expected.flat())).toBeLessThan(one.activations === 'q80' ? 2e-3 : 4e-6);
});

test.each(CASES)('experts %o: a row has the same bits whatever the others', async (one) => {
  const all = await experts(one);
  for (const rows of [1, 2, 6]) expect(await experts({ ...one, rows })).toEqual(all.slice(0, rows));
});

test('the parts of the ranks add up to the whole', async () => {
  const one: Case = { format: 'q80', activations: 'float32', active: 2, normalized: true, onto: false };
  const whole = await experts(one);
  const parts = [await experts({ ...one, first: 0, count: 3 }), await experts({ ...one, first: 3, count: 2 })];
  const sum = whole.map((row, n) =>
    row.map((_, d) => parts.reduce((total, part) => total + (part[n]?.[d] as number), 0)),
  );
  expect(distance(sum.flat(), whole.flat())).toBeLessThan(4e-7); // one float32 sum more
});
