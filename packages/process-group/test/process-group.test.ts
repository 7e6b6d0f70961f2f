/** Every collective on every transport: against plain arithmetic on one, and bit by bit between them. */
import { type DType, read } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { type ProcessGroup, spmd } from '../src/index.ts';
import { everyCollective, type Results, tensorOf } from './collectives.ts';
import { overTcp, transports, useTensorflow } from './worlds.ts';

beforeAll(useTensorflow);

const DTYPES = ['float32', 'int32', 'bfloat16'] as const;
const WORLDS = [1, 2, 3, 4, 8];

// ## Against plain arithmetic

const f32 = Math.fround;
/** float32 rounded to bfloat16, to nearest, ties to even. */
function toBfloat16(value: number): number {
  const words = new Uint32Array(Float32Array.of(value).buffer);
  const bits = words[0] as number;
  words[0] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(words.buffer)[0] as number;
}

const ADD: Record<string, (a: number, b: number) => number> = {
  float32: (a, b) => f32(a + b),
  bfloat16: (a, b) => f32(a + b),
  int32: (a, b) => (a + b) | 0,
};

/** Rank by rank, what `tensorOf` gives them. */
async function valuesOf(name: string, size: number, shape: number[], dtype: DType): Promise<number[][]> {
  return Promise.all(
    Array.from({ length: size }, async (_, rank) => {
      const x = tensorOf(name, rank, shape, dtype);
      const values = Array.from(await read(x));
      x.dispose();
      return values;
    }),
  );
}

async function numbers(y: Tensor): Promise<number[]> {
  const values = Array.from(await read(y));
  y.dispose();
  return values;
}

describe.each(DTYPES)('%s', (dtype) => {
  const shape = [4, 6];
  const run = async <R>(body: (world: ProcessGroup, x: Tensor) => Promise<R>) => {
    const ofRanks = await valuesOf('x', 4, shape, dtype);
    const results = await spmd(4, async (world) => {
      const x = tensorOf('x', world.rank, shape, dtype);
      const result = await body(world, x);
      x.dispose();
      return result;
    });
    return { ofRanks, results };
  };
  const round = dtype === 'bfloat16' ? toBfloat16 : (value: number) => value;
  const sumOf = (ofRanks: number[][]): number[] =>
    (ofRanks[0] as number[]).map((_, i) => ofRanks.map((values) => values[i] as number).reduce(ADD[dtype] as never));

  test('allReduce adds in rank order, in float32, and rounds once', async () => {
    const { ofRanks, results } = await run(async (world, x) => numbers(await world.allReduce(x)));
    for (const result of results) expect(result).toEqual(sumOf(ofRanks).map(round));
  });

  test('the largest of all', async () => {
    const { ofRanks, results } = await run(async (world, x) => numbers(await world.allReduce(x, 'max')));
    const largest = (ofRanks[0] as number[]).map((_, i) => Math.max(...ofRanks.map((values) => values[i] as number)));
    for (const result of results) expect(result).toEqual(largest);
  });

  test('the mean is the sum divided once, and of int32 there is none', async () => {
    if (dtype === 'int32') {
      await expect(run((world, x) => world.allReduce(x, 'mean'))).rejects.toThrow('the mean of int32 tensors');
      return;
    }
    const { ofRanks, results } = await run(async (world, x) => numbers(await world.allReduce(x, 'mean')));
    for (const result of results) expect(result).toEqual(sumOf(ofRanks).map((sum) => round(f32(sum / 4))));
  });

  test('reduceScatter along axis 0 gives each rank its rows of the sum', async () => {
    const { ofRanks, results } = await run(async (world, x) => numbers(await world.reduceScatter(x, 0)));
    expect(results.flat()).toEqual(sumOf(ofRanks).map(round));
  });

  test('allGather along axis 1 sets columns side by side', async () => {
    const { ofRanks, results } = await run(async (world, x) => numbers(await world.allGather(x, 1)));
    const rows = [0, 1, 2, 3].flatMap((row) => ofRanks.flatMap((values) => values.slice(6 * row, 6 * row + 6)));
    for (const result of results) expect(result).toEqual(rows);
  });

  test('broadcast gives the root’s', async () => {
    const { ofRanks, results } = await run(async (world, x) => numbers(await world.broadcast(x, 2)));
    for (const result of results) expect(result).toEqual(ofRanks[2]);
  });

  test('allToAll along axis 0 transposes ranks and rows', async () => {
    const { ofRanks, results } = await run(async (world, x) => numbers(await world.allToAll(x, 0)));
    for (const [r, result] of results.entries())
      expect(result).toEqual(ofRanks.flatMap((values) => values.slice(6 * r, 6 * r + 6)));
  });

  test('sendReceive passes tensors round', async () => {
    const { ofRanks, results } = await run(async (world, x) => {
      const like = { shape, dtype };
      const [got] = await world.sendReceive([
        { receiveFrom: (world.rank + 1) % 4, like },
        { send: x, to: (world.rank + 3) % 4 },
      ]);
      return numbers(got as Tensor);
    });
    expect(results).toEqual([...ofRanks.slice(1), ofRanks[0]]);
  });
});

// ## Between transports

const sameBits = (a: Results | undefined, b: Results | undefined): void => {
  expect([...(b?.keys() ?? [])]).toEqual([...(a?.keys() ?? [])]);
  for (const [name, { spec, bytes }] of a ?? []) {
    expect(b?.get(name)?.spec, name).toEqual(spec);
    expect(Buffer.compare(b?.get(name)?.bytes as Uint8Array, bytes), name).toBe(0);
  }
};

describe.each(WORLDS)('a world of %i', (size) => {
  test('tcp gives the same bits as local, on every rank, and leaves nothing behind', async () => {
    const body = (world: ProcessGroup) => everyCollective(world, DTYPES);
    const local = await expectNoLeak(() => spmd(size, body));
    const tcp = await expectNoLeak(() => overTcp(size, body));
    for (const rank of local.keys()) sameBits(local[rank], tcp[rank]);
    expect(local[0]?.size).toBeGreaterThan(100);
  });

  test.each(Object.entries(transports))('%s: all ranks hold the same sums', async (_, run) => {
    const sums = await run(size, async (world) => {
      const x = tensorOf('large', world.rank, [40_001], 'float32');
      const sum = await numbers(await world.allReduce(x));
      x.dispose();
      return sum;
    });
    for (const sum of sums) expect(sum).toEqual(sums[0]);
    const values = await valuesOf('large', size, [40_001], 'float32');
    expect(sums[0]?.[40_000]).toBe(values.map((ofRank) => ofRank[40_000] as number).reduce((a, b) => f32(a + b)));
  });
});

test.each(Object.entries(transports))(
  '%s: subnormal sums, infinities and NaN are as tf.add gives them',
  async (_, run) => {
    const mine = [
      [1e-39, 1.2e-38, Number.POSITIVE_INFINITY, Number.NaN, 3, -0],
      [1e-39, -1.1e-38, Number.NEGATIVE_INFINITY, 1, Number.NaN, 0],
    ];
    const results = await run(2, async (world) => {
      const x = tf.tensor1d(mine[world.rank] as number[], 'float32');
      const both = [await numbers(await world.allReduce(x)), await numbers(await world.allReduce(x, 'max'))];
      x.dispose();
      return both;
    });
    const [a, b] = mine.map((values) => tf.tensor1d(values)) as [Tensor, Tensor];
    const expected = [await numbers(tf.add(a, b)), await numbers(tf.maximum(a, b))];
    for (const result of results) expect(result).toEqual(expected);
    tf.dispose([a, b]);
  },
);
