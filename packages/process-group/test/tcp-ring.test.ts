/** The ring against the sum: the same on all ranks, as near as float32 has it, in as few bytes as promised. */
import { read } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import type { ProcessGroup, Reduction } from '../src/index.ts';
import { tensorOf } from './collectives.ts';
import { overTcp, useTensorflow } from './worlds.ts';

beforeAll(useTensorflow);

type Values = Float32Array | Int32Array | Uint8Array;
const RING = { algorithm: 'ring' } as const;

/** A rank's values: they differ from rank to rank. */
const valuesOf = (rank: number, length: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => Math.sin(1 + i * 0.37 + rank * 1.7) * 10 ** (i % 3));

async function taken(y: Tensor): Promise<Values> {
  const values = await read(y);
  y.dispose();
  return values;
}

const allReduceOf = async (world: ProcessGroup, values: Float32Array, reduction: Reduction = 'sum') => {
  const x = tf.tensor1d(values, 'float32');
  const result = world.allReduce(x, reduction);
  x.dispose();
  return taken(await result);
};

/** Fails unless all ranks hold the same bits. */
function expectSame(results: Values[]): void {
  const [first, ...others] = results as [Values, ...Values[]];
  for (const other of others) expect(Buffer.compare(Buffer.from(other.buffer), Buffer.from(first.buffer))).toBe(0);
}

/** Rounding n-1 sums each by 2^-24: |error| <= (n-1) · 2^-24 · sum of |x|; one rounding more for a mean. */
function expectSums(results: Values[], length: number, divisor = 1): void {
  const n = results.length;
  for (let i = 0; i < length; i++) {
    const terms = results.map((_, rank) => valuesOf(rank, length)[i] as number);
    const sum = terms.reduce((a, b) => a + b) / divisor;
    const bound = (n * 2 ** -24 * terms.reduce((a, b) => a + Math.abs(b), 0)) / divisor;
    expect(Math.abs((results[0]?.[i] as number) - sum)).toBeLessThanOrEqual(bound);
  }
}

test.each([2, 3, 4, 5])('%i ranks: sums, means and the largest, of any length', async (size) => {
  await overTcp(
    size,
    async (world) => {
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 0, max: 300 }), async (length) => {
          const mine = valuesOf(world.rank, length);
          const sums = await allReduceOf(world, mine);
          const largest = await allReduceOf(world, mine, 'max');
          const means = await allReduceOf(world, mine, 'mean');
          const others = Array.from({ length: size }, (_, rank) => valuesOf(rank, length));
          expect(largest).toEqual(mine.map((_, i) => Math.max(...others.map((values) => values[i] as number))));
          expectSums([sums, ...others.slice(1)], length);
          expectSums([means, ...others.slice(1)], length, size);
        }),
        { numRuns: 8, seed: 4 }, // the same lengths on every rank
      );
    },
    RING,
  );
});

test.each([2, 3, 4, 5])(
  '%i ranks: the same bits on all, also of several chunks and of fewer elements than ranks',
  async (size) => {
    for (const length of [1, size - 1, size + 1, 1001, 200_003]) {
      const results = await overTcp(size, (world) => allReduceOf(world, valuesOf(world.rank, length)), RING);
      expectSame(results);
    }
  },
);

test.each([2, 3, 4, 5])('%i ranks: 2 (n-1)/n of the bytes, to one neighbour', async (size) => {
  const bytes = await overTcp(
    size,
    async (world) => {
      await allReduceOf(world, valuesOf(world.rank, 60 * 1000));
      return world.recorder.totals()[0]?.bytes;
    },
    RING,
  );
  expect(bytes).toEqual(Array(size).fill((4 * 60_000 * 2 * (size - 1)) / size));
});

test('int32 sums are exact, and wrap around', async () => {
  const of = (rank: number) => Int32Array.from({ length: 101 }, (_, i) => 0x70000000 + rank * 7919 + i);
  const results = await overTcp(
    3,
    async (world) => {
      const x = tf.tensor1d(of(world.rank), 'int32');
      const [sum, largest] = [await taken(await world.allReduce(x)), await taken(await world.allReduce(x, 'max'))];
      x.dispose();
      return { sum, largest };
    },
    RING,
  );
  const sum = of(0).map((value, i) => value + (of(1)[i] as number) + (of(2)[i] as number)); // modulo 2^32
  for (const result of results) expect(result).toEqual({ sum, largest: of(2) });
});

test('bfloat16 is rounded at each of n-1 steps, by 2^-8 of what it is then', async () => {
  const inputs: number[][] = [];
  const results = await overTcp(
    4,
    async (world) => {
      const x = tensorOf('ring', world.rank, [500], 'bfloat16');
      inputs[world.rank] = Array.from(await read(x));
      const sum = taken(await world.allReduce(x));
      x.dispose();
      return sum;
    },
    RING,
  );
  expectSame(results);
  for (let i = 0; i < 500; i++) {
    const terms = inputs.map((values) => values[i] as number);
    const error = Math.abs((results[0]?.[i] as number) - terms.reduce((a, b) => a + b));
    expect(error).toBeLessThanOrEqual(3 * 2 ** -8 * 1.02 * terms.reduce((a, b) => a + Math.abs(b), 0));
  }
});

test('it leaves no tensors behind', async () => {
  await expectNoLeak(() => overTcp(3, async (world) => void (await allReduceOf(world, valuesOf(0, 999))), RING));
});

// ## With a wire that rounds

/** What rounding once may change, as a part of the largest number there. */
const BOUNDS = { bfloat16: 2 ** -8, q80: 1 / 250 } as const;

test.each(
  (['ring', 'direct'] as const).flatMap((algorithm) =>
    (['bfloat16', 'q80'] as const).flatMap((wire) => [50, 40_000].map((length) => [algorithm, wire, length] as const)),
  ),
)('%s, %s, %i numbers: the same bits on all ranks, near the sum', async (algorithm, wire, length) => {
  for (const scale of [1, 2e-6]) {
    // Blocks of 32 differ in their largest: some have a scale that rounding a second time would change.
    const inputs = [0, 1, 2].map((rank) => valuesOf(rank, length).map((value, i) => value * scale * (1 + i / length)));
    const results = await overTcp(3, (world) => allReduceOf(world, inputs[world.rank] as Float32Array), {
      algorithm,
      wire,
    });
    expectSame(results);
    // Two contributions or partial sums (of at most M and 2M) and the sum (3M) are rounded: 6M times the wire's bound.
    const bound = 6 * 200 * scale * BOUNDS[wire] + (wire === 'q80' ? 3 * 4e-6 : 0);
    const sums = Array.from({ length }, (_, i) => inputs.reduce((sum, values) => sum + (values[i] as number), 0));
    expect(Math.max(...sums.map((sum, i) => Math.abs((results[0]?.[i] as number) - sum)))).toBeLessThanOrEqual(bound);
  }
});
