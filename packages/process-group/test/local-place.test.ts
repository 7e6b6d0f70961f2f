/** Meetings and messages of coroutines. Everything in this file runs on the wasm backend, as in a browser. */
import { openBackend } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { type ProcessGroup, spmd } from '../src/index.ts';
import { everyCollective } from './collectives.ts';
import { errorOf, numbers, withTensor } from './local-errors.ts';
import { transports } from './worlds.ts';

beforeAll(async () => void (await openBackend({ device: 'wasm' })));

type Ask = (world: ProcessGroup, x: Tensor) => Promise<unknown>;

describe('two ranks that call something else are both named', () => {
  test.each<[what: string, zero: Ask, one: Ask, words: string[]]>([
    [
      'collectives',
      (world, x) => world.allReduce(x),
      (world, x) => world.allGather(x, 0),
      ['rank 0 calls allReduce(sum) of float32 [4]', 'rank 1 calls allGather(axis 0) of float32 [4]'],
    ],
    [
      'reductions',
      (world, x) => world.allReduce(x),
      (world, x) => world.allReduce(x, 'max'),
      ['rank 0 calls allReduce(sum)', 'rank 1 calls allReduce(max)'],
    ],
    [
      'shapes',
      (world, x) => world.allReduce(x),
      (world, x) => withTensor(tf.reshape(x, [2, 2]), (y) => world.allReduce(y)),
      ['float32 [4]', 'float32 [2,2]'],
    ],
    [
      'dtypes',
      (world, x) => world.allReduce(x),
      (world) => withTensor(tf.zeros([4], 'int32'), (y) => world.allReduce(y)),
      ['rank 0 calls allReduce(sum) of float32 [4]', 'rank 1 calls allReduce(sum) of int32 [4]'],
    ],
    [
      'roots',
      (world, x) => world.broadcast(x, 0),
      (world, x) => world.broadcast(x, 1),
      ['rank 0 calls broadcast(root 0)', 'rank 1 calls broadcast(root 1)'],
    ],
    [
      'axes',
      (world, x) => withTensor(tf.reshape(x, [2, 2]), (y) => world.allToAll(y, 0)),
      (world, x) => withTensor(tf.reshape(x, [2, 2]), (y) => world.allToAll(y, 1)),
      ['rank 0 calls allToAll(axis 0)', 'rank 1 calls allToAll(axis 1)'],
    ],
    [
      'sizes',
      (world, x) => world.allGather(x, 0, [4, 4]),
      (world, x) => world.allGather(x, 0, [5, 4]),
      ['rank 0 calls allGather(axis 0) of float32 [4+4]', 'rank 1 calls allGather(axis 0) of float32 [5+4]'],
    ],
    [
      'messages',
      (world, x) => world.sendReceive([{ send: x, to: 1 }]),
      (world) => world.sendReceive([{ receiveFrom: 0, like: { shape: [2, 2], dtype: 'int32' } }]),
      ['rank 0 sends float32 [4]', 'rank 1 receives int32 [2,2]'],
    ],
  ])('%s', async (_, zero, one, words) => {
    const error = await errorOf(2, (world) => withTensor(tf.zeros([4]), (x) => (world.rank ? one : zero)(world, x)));
    for (const word of [...words, '(group world)']) expect(error).toContain(word);
  });
});

test('messages overtake none of the same pair of ranks, however they are begun', async () => {
  const got = await spmd(2, async (world) => {
    const xs = [1, 2, 3].map((value) => tf.scalar(value));
    const like = { shape: [], dtype: 'float32' } as const;
    const work =
      world.rank === 0
        ? [
            world.sendReceive([
              { send: xs[0] as Tensor, to: 1 },
              { send: xs[1] as Tensor, to: 1 },
            ]),
            world.sendReceive([{ send: xs[2] as Tensor, to: 1 }]),
          ]
        : [
            world.sendReceive([{ receiveFrom: 0, like }]),
            world.sendReceive([
              { receiveFrom: 0, like },
              { receiveFrom: 0, like },
            ]),
          ];
    tf.dispose(xs);
    return Promise.all((await Promise.all(work)).flat().map(numbers));
  });
  expect(got[1]).toEqual([[1], [2], [3]]);
});

// ## Without TensorFlow

test.each([1, 2, 3])('every collective of %i ranks is the same over tcp, on wasm too', async (size) => {
  const body = (world: ProcessGroup) => everyCollective(world, ['float32', 'int32']);
  const local = await expectNoLeak(() => transports.local(size, body));
  const tcp = await expectNoLeak(() => transports.tcp(size, body));
  for (const [rank, results] of local.entries())
    for (const [name, { spec, bytes }] of results) {
      expect(tcp[rank]?.get(name)?.spec, name).toEqual(spec);
      expect(Buffer.compare(tcp[rank]?.get(name)?.bytes as Uint8Array, bytes), name).toBe(0);
    }
  expect(local[0]?.size).toBeGreaterThan(60);
});

test.each(Object.entries(transports))('%s: inputs may be disposed of at once on wasm', async (_, run) => {
  await expectNoLeak(async () => {
    const sums = await run(2, async (world) => {
      const x = tf.fill([20_000], world.rank + 1);
      const pending = world.allReduce(x);
      x.dispose();
      return new Set(await numbers(await pending));
    });
    expect(sums).toEqual([new Set([3]), new Set([3])]);
  });
});

test('one rank’s result outlives what the others do with theirs', async () => {
  await expectNoLeak(async () => {
    const got = await spmd(2, async (world) => {
      const x = tf.tensor1d([world.rank]);
      const y = await world.broadcast(x, 1);
      x.dispose();
      if (world.rank === 0) y.dispose();
      await world.barrier();
      return world.rank === 0 ? [1] : numbers(y);
    });
    expect(got).toEqual([[1], [1]]);
  });
});
