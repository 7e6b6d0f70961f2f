/** Deadlocks, and ranks that fail. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { spmd } from '../src/index.ts';
import { errorOf, f4, withTensor } from './local-errors.ts';
import { sleep } from './sockets.ts';
import { useTensorflow } from './worlds.ts';

beforeAll(useTensorflow);

describe('a deadlock is found at once', () => {
  test('of a rank that waits for one which has ended', async () => {
    expect(await errorOf(2, async (world) => world.rank === 0 && (await world.barrier()))).toBe(
      'deadlock: rank 0 waits in barrier (group world), rank 1 has ended',
    );
  });

  test('also when the other one ends later', async () => {
    const words = await errorOf(2, async (world) => (world.rank === 0 ? await world.barrier() : await sleep(30)));
    expect(words).toBe('deadlock: rank 0 waits in barrier (group world), rank 1 has ended');
  });

  test('of a message that nobody receives, and of one that nobody sends', async () => {
    const send = await errorOf(2, (world) =>
      withTensor(tf.zeros([4]), async (x) => world.rank === 0 && (await world.sendReceive([{ send: x, to: 1 }]))),
    );
    expect(send).toBe('deadlock: rank 0 waits in sendReceive(float32 [4] to rank 1) (group world), rank 1 has ended');
    const receive = await errorOf(
      2,
      async (world) => world.rank === 1 && (await world.sendReceive([{ receiveFrom: 0, like: f4 }])),
    );
    expect(receive).toContain('rank 0 has ended, rank 1 waits in sendReceive(float32 [4] from rank 0) (group world)');
  });

  test('of crossed sends: each sends, and would receive afterwards', async () => {
    const words = await errorOf(2, (world) =>
      withTensor(tf.zeros([4]), async (x) => {
        await world.sendReceive([{ send: x, to: 1 - world.rank }]);
        await world.sendReceive([{ receiveFrom: 1 - world.rank, like: f4 }]);
      }),
    );
    expect(words).toContain('rank 0 waits in sendReceive(float32 [4] to rank 1) (group world)');
    expect(words).toContain('rank 1 waits in sendReceive(float32 [4] to rank 0) (group world)');
  });

  test('of groups that wait for each other', async () => {
    const words = await errorOf(4, async (world) => {
      const row = await world.split(world.rank >> 1, world.rank, 'row');
      const column = await world.split(world.rank % 2, world.rank, 'column');
      // 0 waits for 1 in its row, 1 for 3 in its column, 3 for 2 in its row, 2 for 0 in its column.
      await (world.rank === 0 || world.rank === 3 ? row : column).barrier();
    });
    expect(words).toBe(
      'deadlock: rank 0 waits in barrier (group row), rank 1 waits in barrier (group column), ' +
        'rank 2 waits in barrier (group column), rank 3 waits in barrier (group row)',
    );
  });

  test('but not while somebody computes, sleeps or reads a tensor', async () => {
    await spmd(3, async (world) => {
      if (world.rank === 1) await sleep(30);
      if (world.rank === 2) await withTensor(tf.zeros([100]), (x) => x.data());
      await world.barrier();
    });
  });
});

test('a rank that throws ends all with its error; the others hear whose it was', async () => {
  const heard: string[] = [];
  const failure = new Error('no such file');
  const run = spmd(3, async (world) => {
    if (world.rank === 1) {
      await sleep(1);
      throw failure;
    }
    await world.barrier().catch((error: Error) => {
      heard.push(error.message);
      throw error;
    });
  });
  await expect(run).rejects.toBe(failure);
  expect(heard).toEqual(['rank 1 failed: no such file', 'rank 1 failed: no such file']);
});

test('after a failure every further call is refused, with the cause', async () => {
  let later: string | undefined;
  const run = spmd(2, async (world) => {
    if (world.rank === 1) throw new Error('no');
    await world.barrier().catch(() => {});
    await world.barrier().catch((error: Error) => {
      later = error.message;
    });
  });
  await expect(run).rejects.toThrow('no');
  expect(later).toBe('barrier: the run has failed: no');
});

test('what had been received of several messages is freed when the others fail', async () => {
  const words = await errorOf(2, (world) =>
    withTensor(tf.zeros([4]), async (x) => {
      if (world.rank === 0) await world.sendReceive([{ send: x, to: 1 }]);
      else
        await world.sendReceive([
          { receiveFrom: 0, like: f4 },
          { receiveFrom: 0, like: f4 },
        ]);
    }),
  );
  expect(words).toContain('deadlock');
});

test('a split that fails leaves nothing behind', async () => {
  const words = await errorOf(2, async (world) => world.rank === 0 && (await world.split(0, 0, 'tp')));
  expect(words).toContain('deadlock: rank 0 waits in split (group world)');
});
