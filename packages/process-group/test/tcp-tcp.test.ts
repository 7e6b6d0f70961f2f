/** What tcp adds to the collectives that process-group.test.ts compares: many under way at once, wires, time-outs. */
import { memory, read } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import type { ProcessGroup } from '../src/index.ts';
import { SMALL } from '../src/tcp/tcp.ts';
import { tensorOf } from './collectives.ts';
import { sleep } from './sockets.ts';
import { errorsOf, overTcp, useTensorflow } from './worlds.ts';

beforeAll(useTensorflow);

async function values(y: Tensor): Promise<number[]> {
  const all = Array.from(await read(y));
  y.dispose();
  return all;
}

/** The smallest and the largest of a tensor's numbers, which is freed. */
async function range(y: Tensor): Promise<number[]> {
  const [low, high] = [tf.min(y), tf.max(y)];
  const both = [...(await low.data()), ...(await high.data())];
  tf.dispose([y, low, high]);
  return both;
}

// ## Overlap

test.each([1000, 50_000, 6 << 20])(
  'all-reduces of %i numbers that overlap do not mix, whenever a rank begins',
  async (count) => {
    for (const delay of [0, 5, 20, 60]) {
      const sums = await overTcp(2, async (world) => {
        const xs = [1, 100, 10_000].map((value) => tf.fill([count], value));
        const pending: Promise<Tensor>[] = [];
        for (const x of xs) {
          pending.push(world.allReduce(x));
          if (world.rank === 1) await sleep(delay); // rank 0 begins all at once
          x.dispose();
        }
        return Promise.all(pending.map(async (sum) => range(await sum)));
      });
      for (const ofRank of sums)
        expect(ofRank).toEqual([
          [2, 2],
          [200, 200],
          [20_000, 20_000],
        ]);
    }
  },
);

test('different collectives overlap, in two groups, in another order on each rank', async () => {
  await expectNoLeak(() =>
    overTcp(4, async (world) => {
      const rows = await world.split(world.rank >> 1, world.rank, 'row');
      const columns = await world.split(world.rank % 2, world.rank, 'column');
      const x = tf.fill([30_000], 10 ** world.rank);
      const inRow = () => [rows.allReduce(x), rows.allGather(x, 0), rows.broadcast(x, 1)];
      const inColumn = () => [columns.reduceScatter(x, 0), columns.allReduce(x, 'max')];
      const pending = world.rank < 2 ? [inRow(), inColumn()] : [inColumn(), inRow()].reverse();
      x.dispose();
      const [row, column] = await Promise.all(
        pending.map((works) => Promise.all(works.map(async (work) => range(await work)))),
      );
      const low = world.rank < 2 ? 1 : 100;
      expect(row).toEqual([
        [11 * low, 11 * low],
        [low, 10 * low],
        [10 * low, 10 * low],
      ]);
      const own = 10 ** (world.rank % 2);
      expect(column).toEqual([
        [101 * own, 101 * own],
        [100 * own, 100 * own],
      ]);
    }),
  );
});

test('messages are matched in the order in which each pair of ranks begins them', async () => {
  const got = await overTcp(2, async (world) => {
    const sizes = [3, 70_000, 1];
    const xs = sizes.map((size, i) => tf.fill([size], i + 1));
    const like = sizes.map((size) => ({ receiveFrom: 0, like: { shape: [size], dtype: 'float32' } }) as const);
    const [a, b, c] = xs as [Tensor, Tensor, Tensor];
    const work =
      world.rank === 0
        ? [
            world.sendReceive([
              { send: a, to: 1 },
              { send: b, to: 1 },
            ]),
            world.sendReceive([{ send: c, to: 1 }]),
          ]
        : like.map((one) => world.sendReceive([one]));
    tf.dispose(xs);
    return Promise.all((await Promise.all(work)).flat().map(range));
  });
  expect(got[1]).toEqual([
    [1, 1],
    [2, 2],
    [3, 3],
  ]);
});

test('sums on both sides of the threshold are the same numbers', async () => {
  const count = SMALL / 4;
  const sums = await overTcp(3, async (world) => {
    const both: number[][] = [];
    for (const size of [count, count + 1]) {
      const x = tf.tidy(() => tf.slice(tensorOf('x', world.rank, [count + 1], 'float32'), 0, size));
      both.push(await values(await world.allReduce(x)));
      x.dispose();
    }
    return both;
  });
  for (const [small, large] of sums as [number[], number[]][]) expect(large.slice(0, count)).toEqual(small);
});

// ## Wires

describe.each(['bfloat16', 'q80'] as const)('over %s', (wire) => {
  test('what all hold is the same on all, for every collective that gives all the same', async () => {
    const results = await overTcp(
      3,
      async (world) => {
        const got: number[][] = [];
        for (const size of [40, 30_003]) {
          const x = tensorOf('x', world.rank, [size], 'float32');
          const works = [world.allReduce(x), world.allReduce(x, 'mean'), world.allGather(x, 0), world.broadcast(x, 2)];
          for (const work of works) got.push(await values(await work));
          x.dispose();
        }
        return got;
      },
      { wire },
    );
    for (const other of results.slice(1)) expect(other).toEqual(results[0]);
  });

  test('int32 and bfloat16 tensors arrive exactly', async () => {
    for (const dtype of ['int32', 'bfloat16'] as const) {
      const body = async (world: ProcessGroup) => {
        const x = tensorOf('x', world.rank, [1000], dtype);
        const got = [await values(await world.allReduce(x, 'max')), await values(await world.allGather(x, 0))];
        x.dispose();
        return got;
      };
      expect(await overTcp(2, body, { wire })).toEqual(await overTcp(2, body));
    }
  });

  test('fewer bytes are counted', async () => {
    const count = 32 * 3 * 1000;
    const bytes = await overTcp(
      3,
      async (world) => {
        const x = tf.zeros([count]);
        tf.dispose([x, await world.allReduce(x)]);
        return world.recorder.totals()[0]?.bytes;
      },
      { wire },
    );
    const width = wire === 'bfloat16' ? 2 : 34 / 32;
    expect(bytes).toEqual(Array(3).fill((4 / 3) * count * width));
  });
});

// ## What goes wrong

test.each<[string, (world: ProcessGroup, x: Tensor) => Promise<unknown>, RegExp]>([
  [
    'a collective',
    (world, x) => (world.rank ? world.allGather(x, 0) : world.allReduce(x)),
    /calls allGather.*calls allReduce|calls allReduce.*calls allGather/,
  ],
  [
    'a message',
    (world, x) =>
      world.sendReceive([world.rank ? { send: x, to: 0 } : { receiveFrom: 1, like: { shape: [1], dtype: 'float32' } }]),
    /rank 0 receives float32 \[1\], but rank 1 sends float32 \[\d+\]/,
  ],
])('%s of many chunks that the other rank does not call ends both, and no process', async (_, call, words) => {
  const errors = await errorsOf(2, async (world) => {
    const x = tf.zeros([1 << 20]);
    await call(world, x).finally(() => x.dispose());
    await world.barrier();
  });
  expect(errors.some((error) => words.test(error ?? ''))).toBe(true);
  for (const error of errors) expect(error).toMatch(/rank/);
  await sleep(20); // an unhandled rejection would fail this file
});

test('a rank that does not come is named within the time-out', async () => {
  const errors = await errorsOf(
    2,
    async (world) => {
      const x = tf.zeros([10]);
      if (world.rank === 0) await world.broadcast(x, 0).finally(() => x.dispose());
      else await sleep(700);
      x.dispose();
    },
    { timeoutSeconds: 0.3 },
  );
  expect(errors[0]).toMatch(/^rank 0 waited 0.3 s for rank 1 in broadcast\(root 0\).*: rank 1 has not called it$/);
});

test('nothing is left of tensors that were sent, received, reduced and exchanged', async () => {
  const before = memory();
  for (const count of [100, 100_000])
    await overTcp(2, async (world) => {
      const x = tf.zeros([count]);
      const got = [world.allReduce(x), world.reduceScatter(x, 0), world.allToAll(x, 0), world.broadcast(x, 0)];
      tf.dispose([x, await Promise.all(got)]);
    });
  expect(memory()).toMatchObject({ tensors: before.tensors, bytes: before.bytes });
});

test.each(['allGather', 'allToAll'] as const)(
  '%s of nothing is told from another collective too',
  async (operation) => {
    const errors = await errorsOf(2, async (world) => {
      const x = tf.zeros([0, 2]);
      const y = await (world.rank === 0 ? world[operation](x, 0) : world.reduceScatter(x, 0));
      tf.dispose([x, y]);
    });
    const words = `rank 0 calls ${operation}(axis 0) of float32 [0,2], but rank 1 calls reduceScatter(sum, axis 0)`;
    expect(errors.some((error) => error?.startsWith(words) || error?.includes('but rank 0 calls'))).toBe(true);
    expect(errors.every((error) => error !== undefined)).toBe(true);
  },
);
