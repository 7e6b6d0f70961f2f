import { cast, type DType, dtypeOf, memory, read } from '@fourfold/runtime';
import { stockKernels } from '@fourfold/runtime/tensorflow';
import { expectNoLeak, onBackends, useBackend } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { addAt, attentionBlock, kernels, mergeAttention } from '../src/index.ts';
import { at, expectValues, type Input, placesOfNaN, random, range, type Values } from './float64.ts';
import { expectClose, randn } from './helpers.ts';

/** Of a whole, and of the part of its queries that is merged. */
interface Shape {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly K: number;
  readonly Q: number;
  readonly start: number;
}
type Inputs = [o: Input, lse: Input, part: Input, partLse: Input];
type Four<X> = [X, X, X, X];

const upTo = (max: number) => fc.integer({ min: 1, max });
const shapes = fc
  .record({ B: upTo(3), H: upTo(4), K: upTo(20), before: fc.nat(5), Q: upTo(9), after: fc.nat(5) })
  .map(({ before, after, ...sides }) => ({ ...sides, start: before, T: before + sides.Q + after }));

/** lse have a standard deviation of `std`. */
const inputsOf = ({ B, T, H, K, Q }: Shape, std = 2): Inputs => [
  random('o', [B, T, H, K]),
  random('lse', [B, H, T], std),
  random('part', [B, Q, H, K]),
  random('part lse', [B, H, Q], std),
];

const tensorOf = ({ values, shape }: Input): Tensor => tf.tensor(values.slice(), shape);

/** [o, lse] merged, by way of tensors that it leaves none of. */
async function merged(inputs: Inputs, start: number, dtype: DType = 'float32'): Promise<[Values, Values]> {
  return expectNoLeak(async () => {
    const [o, lse, wide, partLse] = inputs.map(tensorOf) as Four<Tensor>;
    const part = cast(wide, dtype);
    wide.dispose();
    const results = mergeAttention([o, lse], [part, partLse], start);
    expect([results.map(dtypeOf), results.map(({ shape }) => shape)]).toEqual([
      ['float32', 'float32'],
      inputs.slice(0, 2).map(({ shape }) => shape),
    ]);
    const values = await Promise.all(results.map(read));
    tf.dispose(results);
    return values as unknown as [Values, Values];
  });
}

/** [o, lse]. */
function mergedInFloat64({ B, T, H, K, Q, start }: Shape, inputs: Inputs): [Values, Values] {
  const [o, lse, part, partLse] = inputs.map(({ values }) => Float64Array.from(values)) as Four<Float64Array>;
  for (let n = 0; n < B * Q * H; n++) {
    const [b, q, h] = [Math.floor(n / (Q * H)), Math.floor(n / H) % Q, n % H];
    const whole = (b * H + h) * T + start + q;
    const [before, more] = [at(lse, whole), at(partLse, (b * H + h) * Q + q)];
    const most = Math.max(before, more);
    lse[whole] = most + Math.log(Math.exp(before - most) + Math.exp(more - most));
    const weight = Math.exp(more - at(lse, whole));
    for (let d = 0; d < K; d++) {
      const to = ((b * T + start + q) * H + h) * K + d;
      o[to] = (1 - weight) * at(o, to) + weight * at(part, n * K + d);
    }
  }
  return [o, lse];
}

/** Holds a merge against float64; places beside the part must have the very bits that they had. */
async function check(shape: Shape, std: number): Promise<void> {
  const inputs = inputsOf(shape, std);
  const found = await merged(inputs, shape.start);
  const expected = mergedInFloat64(shape, inputs);
  expectValues(found, expected);
  for (const [i, values] of found.entries())
    for (const [n, x] of (inputs[i] as Input).values.entries())
      if (at(expected[i] as Values, n) === x) expect(at(values, n)).toBe(x);
}

/** sum with `part` added at `start`, in float64. */
function addedInFloat64({ B, T, Q, start }: Shape, sum: Input, part: Input): Values {
  const [values, row] = [Float64Array.from(sum.values), sum.values.length / (B * T)];
  for (const [n, x] of part.values.entries()) {
    const [b, q, d] = [Math.floor(n / (Q * row)), Math.floor(n / row) % Q, n % row];
    const to = (b * T + start + q) * row + d;
    values[to] = Math.fround(at(values, to) + x);
  }
  return values;
}

async function checkAdd(shape: Shape, dtype: DType = 'float32'): Promise<void> {
  const { B, T, H, K, Q, start } = shape;
  const [sum, drawn] = [random('sum', [B, T, H, K]), random('part', [B, Q, H, K])];
  await expectNoLeak(async () => {
    const part = tf.tidy(() => cast(tensorOf(drawn), dtype));
    const rounded = (await read(part)) as Float32Array;
    const y = addAt(tensorOf(sum), part, start);
    expect([dtypeOf(y), y.shape]).toEqual(['float32', sum.shape]);
    expect(Array.from(await y.data())).toEqual(Array.from(addedInFloat64(shape, sum, { ...drawn, values: rounded })));
    y.dispose();
  });
}

const RUNS = { numRuns: 20 };

onBackends(() => {
  test('a merge is that of float64, also where lse are hundreds apart; other queries are left alone', async () => {
    await fc.assert(fc.asyncProperty(shapes, fc.constantFrom(2, 300), check), RUNS);
  });

  test('addAt adds to the places of the part, and leaves the others alone, to the bit', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, (shape) => checkAdd(shape)),
      RUNS,
    );
  });

  test.each([0, 4])(
    'attention over two blocks of keys, the second seen from query %i on, is that over both',
    async (start) => {
      await expectNoLeak(async () => {
        const [q, k, v] = [
          [2, 8, 4, 6],
          [2, 9, 2, 6],
          [2, 9, 2, 6],
        ].map((shape, i) => randn(`${i}`, shape)) as [Tensor, Tensor, Tensor];
        const [first, second] = [
          [0, 5],
          [5, 4],
        ].map(
          ([from = 0, length = 0]) =>
            (x: Tensor) =>
              kernels.slice(x, 1, from, length),
        );
        const found = tf.tidy(() => {
          const late = kernels.slice(q, 1, start, 8 - start);
          const whole = attentionBlock(q, first?.(k) as Tensor, first?.(v) as Tensor);
          return mergeAttention(whole, attentionBlock(late, second?.(k) as Tensor, second?.(v) as Tensor), start);
        });
        const both = attentionBlock(q, k, v);
        for (const [i, x] of found.entries()) {
          const [late, wanted] = [x, both[i] as Tensor].map((x) => kernels.slice(x, 1 + i, start, 8 - start)) as [
            Tensor,
            Tensor,
          ];
          await expectClose(late, wanted, 1e-6, i === 0 ? 'o' : 'lse');
          tf.dispose([late, wanted]);
        }
        tf.dispose([q, k, v, ...found, ...both]);
      });
    },
  );
});

describe('on TensorFlow', () => {
  beforeAll(() => useBackend('cpu'));

  test('the stock kernels compute the same', async () => {
    const stock = (shape: Shape) =>
      stockKernels(async () => {
        await check(shape, 2);
        await checkAdd(shape);
      });
    await fc.assert(fc.asyncProperty(shapes, stock), RUNS);
  });

  test('a part may be bfloat16: what it holds is merged and added in float32', async () => {
    const shape = { B: 2, T: 7, H: 3, K: 5, Q: 4, start: 2 };
    await checkAdd(shape, 'bfloat16');
    const [o, lse, part, partLse] = inputsOf(shape);
    const rounded = tf.tidy(() => cast(cast(tensorOf(part), 'bfloat16'), 'float32'));
    const inputs: Inputs = [o, lse, { ...part, values: (await read(rounded)) as Float32Array }, partLse];
    rounded.dispose();
    expectValues(await merged(inputs, 2, 'bfloat16'), mergedInFloat64(shape, inputs));
  });

  test('the result lies where the whole lay, and no other memory is taken', async () => {
    await expectNoLeak(async () => {
      const shape = { B: 2, T: 100, H: 4, K: 8, Q: 50, start: 50 };
      const [o, lse, part, partLse] = inputsOf(shape).map(({ values, shape }) =>
        tf.tidy(() => tf.neg(tf.tensor(values, shape))),
      ) as Four<Tensor>;
      const [kept, more] = [kernels.share(o), kernels.share(part)];
      const before = memory().bytes;
      const results = mergeAttention([o, lse], [part, partLse], 50);
      expect(memory().bytes).toBe(before - 4 * partLse.size);
      expect(await kept.data()).toEqual(await results[0].data());
      const sum = addAt(results[0], more, 0);
      expect(memory().bytes).toBe(before - 4 * (partLse.size + part.size));
      expect(await kept.data()).toEqual(await sum.data());
      tf.dispose([kept, sum, results[1]]);
    });
  });

  test('NaN stays NaN, in its own query and head', async () => {
    const shape = { B: 1, T: 6, H: 2, K: 3, Q: 3, start: 3 };
    const broken = async (input: number, place: number) => {
      const inputs = inputsOf(shape);
      (inputs[input] as Input).values[place] = Number.NaN;
      return (await merged(inputs, 3)).map(placesOfNaN);
    };
    expect(await broken(2, 7)).toEqual([[25], []]); // head 0 of query 1 of the part, 4 of the whole
    expect(await broken(3, 4)).toEqual([range(27, 30), [10]]); // the length of head 1
    expect(await broken(1, 10)).toEqual([range(27, 30), [10]]);
  });
});
