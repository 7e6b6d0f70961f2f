/** Ring attention against attention on one rank; who computes how much; who has which tokens. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { spmd } from '@fourfold/process-group';
import { cast, UserError } from '@fourfold/runtime';
import { expectNoLeak, onBackends, useBackend } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import {
  checkContextParallel,
  ORDERS,
  type Order,
  positionsOf,
  ringAttention,
  visible,
} from '../src/context-parallel.ts';
import { at, expectClose, FLOAT32, type Inputs, inputsOf, onOneRank, onRing, onThisRank, randn } from './ring.ts';

// ## The ring

onBackends((backend) => {
  test.each([1, 2, 3, 4, 8])('attention of %i ranks is that of one, with its gradients, in both orders', async (cp) => {
    const upTo = (max: number) => fc.integer({ min: 1, max });
    const shapes = fc.record({ B: upTo(2), G: upTo(2), R: upTo(3), chunk: upTo(5), K: fc.constantFrom(2, 4, 6) });
    await fc.assert(
      fc.asyncProperty(shapes, fc.constantFrom(...ORDERS), async (shape, order) => {
        const inputs = inputsOf({ ...shape, cp });
        await expectNoLeak(async () => {
          const [wanted, actual] = [await onOneRank(inputs), await onRing(cp, order, inputs)];
          for (const [i, name] of ['o', 'dq', 'dk', 'dv'].entries())
            await expectClose(actual[i] as Tensor, wanted[i] as Tensor, FLOAT32, name);
          tf.dispose([...wanted, ...actual]);
        });
        tf.dispose(inputs);
      }),
      { numRuns: backend === 'cpu' ? 12 : 4 },
    );
  });

  test.each(ORDERS)('%s: a dropped pullback leaves nothing', async (order) => {
    const inputs = inputsOf({ B: 1, G: 1, R: 2, cp: 3, chunk: 2, K: 4 });
    await expectNoLeak(() =>
      spmd(3, async (cp) => {
        const mine = inputs.map((x) => at(x, positionsOf(12, 3, cp.rank, order), 1));
        const qkv = tf.concat(mine.slice(0, 3) as tf.Tensor4D[], 2);
        const [o, pull] = await ringAttention(cp, { kvHeads: 1, order })(qkv);
        pull.drop();
        tf.dispose([...mine, qkv, o]);
      }),
    );
    tf.dispose(inputs);
  });
});

describe('on TensorFlow', () => {
  beforeAll(() => useBackend('cpu'));

  test.each(ORDERS)(
    '%s: the ring writes over memory of its own alone, not over what it was given, or gave',
    async (order) => {
      const inputs = inputsOf({ B: 2, G: 2, R: 2, cp: 4, chunk: 3, K: 4 });
      await expectNoLeak(() =>
        spmd(4, async (cp) => {
          const [q, k, v, dO] = inputs.map((x) => at(x, positionsOf(24, 4, cp.rank, order), 1)) as Inputs;
          const mine = [tf.concat([q, k, v] as tf.Tensor4D[], 2), dO] as const;
          const before = await Promise.all(mine.map((x) => x.array()));
          const [o, pull] = await ringAttention(cp, { kvHeads: 2, order })(mine[0]);
          const oBefore = await o.array();
          const gradient = await pull(dO);
          expect(await Promise.all(mine.map((x) => x.array()))).toEqual(before);
          expect(await o.array()).toEqual(oBefore);
          tf.dispose([q, k, v, ...mine, o, gradient]);
        }),
      );
      tf.dispose(inputs);
    },
  );

  test('contiguous ranks need no even number of tokens', async () => {
    const inputs = [1, 2, 3, 4].map((i) => randn(`${i}`, [1, 15, 2, 4])) as Inputs;
    const [wanted, actual] = [await onOneRank(inputs), await onRing(5, 'contiguous', inputs)];
    for (const [i, x] of actual.entries()) await expectClose(x, wanted[i] as Tensor, FLOAT32, `result ${i}`);
    tf.dispose([...inputs, ...wanted, ...actual]);
  });

  test('scores in the hundreds, of which one block may have all the weight, make no NaN', async () => {
    const [q, ...others] = inputsOf({ B: 1, G: 1, R: 1, cp: 4, chunk: 2, K: 4 });
    const large = tf.mul(q, 1000);
    const inputs = [large, ...others] as Inputs;
    const [wanted, actual] = [await onOneRank(inputs), await onRing(4, 'zigzag', inputs)];
    // Scores of 1,000 are rounded at 6e-5, and e to that power is off as much.
    await expectClose(actual[0] as Tensor, wanted[0] as Tensor, 1e-4, 'o');
    for (const x of actual) expect((await x.data()).every(Number.isFinite)).toBe(true);
    tf.dispose([q, ...inputs, ...wanted, ...actual]);
  });

  test.each(ORDERS)('%s: in bfloat16, close to one rank in float32', async (order) => {
    const shape = { B: 1, G: 2, R: 2, cp: 4, chunk: 3, K: 4 };
    const inputs = inputsOf(shape).map((x) => tf.tidy(() => cast(cast(x, 'bfloat16'), 'float32'))) as Inputs;
    const [wanted, actual] = [await onOneRank(inputs), await onRing(4, order, inputs, 'bfloat16')];
    // bfloat16 has 8 bits, and a product is cut at up to 2^-7 of itself where the CPU has none; here are four in a row:
    // the scores, dP, dS and dS · k.
    for (const [i, x] of actual.entries()) await expectClose(x, wanted[i] as Tensor, 2 ** -5, `result ${i}`);
    tf.dispose([...inputs, ...wanted, ...actual]);
  });
});

// ## Who computes how much

/**
 * The multiplications of all matrix products that each rank runs for one attention, forward and backward; in bfloat16,
 * where they are ops of their own.
 */
async function workOfRanks(cp: number, order: Order): Promise<number[]> {
  const inputs = inputsOf({ B: 1, G: 1, R: 2, cp, chunk: 3, K: 4 });
  const rank = new AsyncLocalStorage<number>();
  const work = Array<number>(cp).fill(0);
  const backend = tf.backend() as unknown as { executeSingleOutput(op: string, a: unknown, xs: Tensor[]): Tensor };
  const run = backend.executeSingleOutput.bind(backend);
  const spy = vi.spyOn(backend, 'executeSingleOutput').mockImplementation((op, attributes, xs) => {
    const y = run(op, attributes, xs);
    // [n, a, b] · [n, b, c] has n³a²b²c² elements in factors and product, multiplied, and takes n·a·b·c.
    if (op === 'BatchMatMulV2') {
      const [x, other] = xs as [Tensor, Tensor];
      const r = rank.getStore() as number;
      work[r] = (work[r] as number) + Math.sqrt((x.size * other.size * y.size) / (x.shape[0] as number));
    }
    return y;
  });
  const results = await spmd(cp, (group) => rank.run(group.rank, () => onThisRank(group, order, inputs, 'bfloat16')));
  spy.mockRestore();
  tf.dispose([...inputs, ...results.flat()]);
  return work;
}

describe('balance', () => {
  beforeAll(() => useBackend('cpu'));

  test.each([
    [2, 'zigzag', 1],
    [4, 'zigzag', 1],
    [8, 'zigzag', 1],
    [2, 'contiguous', 4 / 3],
    [4, 'contiguous', 1.6],
    [8, 'contiguous', 16 / 9],
  ] as const)('of %i ranks, %s, the busiest computes %f times the mean', async (cp, order, ratio) => {
    const work = await workOfRanks(cp, order);
    const mean = work.reduce((sum, of) => sum + of, 0) / cp;
    expect(mean).toBeGreaterThan(0);
    expect(Math.max(...work) / mean).toBeCloseTo(ratio, 10);
  });

  test('both orders are at most a block per rank above half of all pairs', async () => {
    // Seven products of queries and keys, K = 4 long, for two heads; T = 24 at cp = 4 in blocks of t = 6.
    const pairs = async (order: Order) => (await workOfRanks(4, order)).reduce((sum, of) => sum + of, 0) / (7 * 4 * 2);
    expect(await pairs('contiguous')).toBe((24 * 24) / 2 + (4 * 6 * 6) / 2);
    expect(await pairs('zigzag')).toBe((24 * 24) / 2 + (4 * 6 * 6) / 2);
  });
});

// ## Positions and checks

test('in zigzag order a rank has a chunk from the front and one from the back', () => {
  const ranks = [0, 1, 2].map((rank) => [...positionsOf(12, 3, rank, 'zigzag')]);
  expect(ranks).toEqual([
    [0, 1, 10, 11],
    [2, 3, 8, 9],
    [4, 5, 6, 7],
  ]);
  expect([...positionsOf(6, 3, 1, 'contiguous')]).toEqual([2, 3]);
  expect([...positionsOf(3, 1, 0, 'zigzag')]).toEqual([0, 1, 2]);
});

test('ranks have every position once, and in ascending order', () => {
  const orders = fc.constantFrom(...ORDERS);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 6 }), orders, (cp, chunk, order) => {
      const T = 2 * cp * chunk;
      const ranks = Array.from({ length: cp }, (_, rank) => [...positionsOf(T, cp, rank, order)]);
      for (const list of ranks) expect(list).toEqual(list.toSorted((a, b) => a - b));
      expect(ranks.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: T }, (_, i) => i));
    }),
  );
});

test('what the ranks see are all pairs of a query and a key not after it, once each', () => {
  const span = ([start, length]: readonly [number, number]) => Array.from({ length }, (_, i) => start + i);
  for (const order of ORDERS)
    for (const cp of [2, 3, 5]) {
      const t = 6;
      const positions = Array.from({ length: cp }, (_, rank) => positionsOf(cp * t, cp, rank, order));
      const pairs = positions.flatMap((queries, rank) =>
        positions.flatMap((keys, source) => {
          const seen = visible(order, rank, source, t);
          if (!seen) return [];
          const seenBy = (i: number) => span(seen.keys).filter((j) => !seen.causal || j <= i);
          return span(seen.queries).flatMap((i) => seenBy(i).map((j) => `${queries[i]} sees ${keys[j]}`));
        }),
      );
      const wanted = span([0, cp * t]).flatMap((i) => span([0, i + 1]).map((j) => `${i} sees ${j}`));
      expect(pairs.sort()).toEqual(wanted.sort());
    }
});

test('a sequence that ranks cannot share is refused with what would do', () => {
  const message = (seqLength: number, cp: number, order: Order) => {
    try {
      checkContextParallel({ seqLength, cp, order });
    } catch (error) {
      expect(error).toBeInstanceOf(UserError);
      return (error as Error).message;
    }
    return undefined;
  };
  expect(message(90, 4, 'zigzag')).toBe(
    'cp=4 does not divide seqLength=90 into 8 chunks (zigzag): use cp 1, 3, 5, 9, 15 or 45, ' +
      'or a seqLength that is a multiple of 8',
  );
  expect(message(9, 2, 'contiguous')).toBe(
    'cp=2 does not divide seqLength=9 into 2 chunks (contiguous): use cp 1, 3 or 9, ' +
      'or a seqLength that is a multiple of 2',
  );
  expect(message(7, 7, 'zigzag')).toBe(
    'cp=7 does not divide seqLength=7 into 14 chunks (zigzag): use cp 1, or a seqLength that is a multiple of 14',
  );
  for (const [seqLength, cp, order] of [
    [96, 4, 'zigzag'],
    [9, 3, 'contiguous'],
    [9, 1, 'zigzag'],
  ] as const)
    expect(message(seqLength, cp, order)).toBeUndefined();
  expect(() => positionsOf(90, 4, 0, 'zigzag')).toThrow(UserError);
});
