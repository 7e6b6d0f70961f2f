/** A decoder over local ranks: what it refuses, what it costs, and that ranks don't show in what it gives. */
import { UserError } from '@fourfold/runtime/errors';
import { expectNoLeak, useBackend } from '@fourfold/runtime/testing';
import { beforeAll, expect, test } from 'vitest';
import type { Decoder, Logits, Row } from '../src/decoder.ts';
import type { ModelOptions } from '../src/load.ts';
import { openDecoder } from '../src/open-decoder.ts';
import { evenPart } from '../src/slices.ts';
import { lengthOf } from '../src/stored.ts';
import { partWords } from '../src/wire.ts';
import { TINY, TINY_EXPERTS, tinyModel } from './tiny.ts';

beforeAll(() => useBackend('cpu'));

async function withDecoder<R>(ranks: number, options: ModelOptions, use: (decoder: Decoder) => Promise<R>): Promise<R> {
  const decoder = await openDecoder(tinyModel(TINY_EXPERTS), { slots: 2, ...options }, ranks);
  try {
    return await use(decoder);
  } finally {
    await decoder.close();
  }
}

const rowsOf = (slot: number, tokens: readonly number[], first: number, wanted: Row['wanted']): Row[] =>
  tokens.map((token, i) => ({ token, slot, position: first + i, wanted }));

test('on any number of ranks the same tokens are best, with the same logits to rounding', async () => {
  const steps = (ranks: number) =>
    withDecoder(ranks, {}, async (decoder) => {
      await decoder.step(rowsOf(0, [3, 1, 4], 0, 'nothing'));
      await decoder.copySlot(0, 1, 2);
      return decoder.step([...rowsOf(0, [1], 3, 5), ...rowsOf(1, [5, 9], 2, 'all')]);
    });
  const alone = await steps(1);
  expect(alone.map(({ ids, values }) => [ids?.length, values.length])).toEqual([
    [5, 5],
    [undefined, 50],
    [undefined, 50],
  ]);
  for (const ranks of [2, 3, 5, 6]) {
    const shared = await steps(ranks);
    expect(shared.map(({ ids }) => ids)).toEqual(alone.map(({ ids }) => ids));
    for (const [i, { values, logSumExp }] of shared.entries()) {
      const own = alone[i] as Logits;
      expect(Math.abs(logSumExp - own.logSumExp)).toBeLessThan(1e-5); // sums in another order, of numbers about 10
      expect(Math.max(...values.map((value, v) => Math.abs(value - (own.values[v] as number))))).toBeLessThan(1e-5 * 4);
    }
  }
});

test('a step costs two sums a layer, the rows, and the parts of logits: to the byte', async () => {
  const [ranks, V] = [3, TINY.vocabulary];
  await withDecoder(ranks, {}, async (decoder) => {
    await decoder.step([...rowsOf(0, [3, 1], 0, 'nothing'), ...rowsOf(1, [4], 0, 4)]);
    const rows = 3;
    const sums = 2 * TINY.layers * (4 * rows * TINY.dim); // each rank's way of a sum: as large as x
    const told = (ranks - 1) * (16 + 16 * rows);
    const parts = [0, 1, 2].map((rank) => 4 * partWords([4], lengthOf(evenPart(V, rank, ranks))));
    // A sum goes (n-1)/n·x out and in to be added up, and as much to hand the sums round.
    const wire = (2 * sums * (ranks - 1)) / ranks;
    expect(decoder.cost.sent).toBe(wire + told + (ranks - 1) * (parts[0] as number));
    expect(decoder.cost.received).toBe(wire + (parts[1] as number) + (parts[2] as number));
    expect(decoder.cost.total).toBeGreaterThan(0);
    expect(decoder.cost.transfer).toBeLessThanOrEqual(decoder.cost.total);
  });
});

test.each<[string, Row[], string]>([
  ['no rows', [], 'a step has 1 to 4 rows, and this one has 0'],
  ['too many', rowsOf(0, [1, 2, 3, 4, 5], 0, 'nothing'), 'and this one has 5'],
  ['an unknown token', rowsOf(0, [50], 0, 'nothing'), 'token 50 of slot 0 at position 0: there are 50 tokens'],
  ['an unknown slot', rowsOf(2, [1], 0, 'nothing'), '2 slots'],
  ['a position past the cache', rowsOf(0, [1], 16, 'nothing'), '16 positions'],
  ['half a logit', rowsOf(0, [1], 0, 1.5), 'wanted=1.5 logits'],
  ['fewer logits than none', rowsOf(0, [1], 0, -1), 'wanted=-1 logits'],
  ['a position before it', rowsOf(0, [1], -1, 'nothing'), 'position -1'],
])('%s is refused, and the next step computed', async (_, rows, says) => {
  await withDecoder(2, { maxRows: 4, maxSeqLength: 16 }, async (decoder) => {
    await expect(decoder.step(rows)).rejects.toThrow(UserError);
    await expect(decoder.step(rows)).rejects.toThrow(says);
    expect(await decoder.step(rowsOf(0, [1], 0, 1))).toHaveLength(1);
  });
});

test('a copy past the slots or the cache is refused on no rank but the first', async () => {
  await withDecoder(2, { maxSeqLength: 16 }, async (decoder) => {
    await expect(decoder.copySlot(0, 2, 3)).rejects.toThrow('there are 2 slots of 16 positions');
    await expect(decoder.copySlot(0, 1, 17)).rejects.toThrow('17 positions of slot 0 to slot 1');
    await expect(decoder.copySlot(0, 1, 16)).rejects.toThrow('slot 0 holds 0');
    await decoder.step(rowsOf(0, [1, 2], 0, 'nothing'));
    await decoder.copySlot(0, 1, 2);
    expect(await decoder.step(rowsOf(1, [3], 2, 1))).toHaveLength(1);
  });
});

test.each([1, 3])('closing frees what %d ranks held, and the model', async (ranks) => {
  const model = tinyModel();
  await expectNoLeak(async () => {
    const decoder = await openDecoder(model, {}, ranks);
    await decoder.step(rowsOf(0, [1], 0, 1));
    expect([decoder.ranks, decoder.vocabulary, decoder.slots, decoder.maxSeqLength]).toEqual([ranks, 50, 1, 32]);
    await decoder.close();
  });
  expect(model.closed).toBe(true);
});

test('a rank that can’t read its weights ends the opening, with the reason', async () => {
  const model = tinyModel();
  const broken: typeof model = {
    ...model,
    read: (name, part) => (name.includes('layers.1') ? fail() : model.read(name, part)),
  };
  const fail = (): never => {
    throw new Error('the disk is gone');
  };
  await expect(openDecoder(broken, {}, 2)).rejects.toThrow('the disk is gone');
});

test('more ranks than heads are refused', async () => {
  await expect(openDecoder(tinyModel(), {}, 7)).rejects.toThrow('use 1 to 6');
});

test('without native ops, on wasm, the same tokens are best', async () => {
  const best = () =>
    withDecoder(2, {}, async (decoder) => {
      const logits = await decoder.step(rowsOf(0, [3, 1, 4], 0, 5));
      return logits.map(({ ids }) => [...(ids ?? [])]);
    });
  const native = await best();
  await useBackend('wasm');
  try {
    expect(await best()).toEqual(native);
  } finally {
    await useBackend('cpu');
  }
});
