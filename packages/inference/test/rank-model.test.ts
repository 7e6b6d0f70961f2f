/** One rank's computing: few ops a layer, nothing left behind, slots apart. */
import { profileOps } from '@fourfold/runtime';
import { expectNoLeak, useBackend } from '@fourfold/runtime/testing';
import { beforeAll, expect, test } from 'vitest';
import type { Logits, Row } from '../src/decoder.ts';
import { chooseOptions, loadRank, type ModelOptions } from '../src/load.ts';
import type { RankModel } from '../src/rank-model.ts';
import { ALONE, type Ranks } from '../src/ranks.ts';
import type { ModelShape } from '../src/shape.ts';
import { TINY, TINY_EXPERTS, tinyModel } from './tiny.ts';

beforeAll(() => useBackend('cpu'));

const prompt = (slot: number, tokens: readonly number[], first = 0, wanted: Row['wanted'] = 'all'): Row[] =>
  tokens.map((token, i) => ({ token, slot, position: first + i, wanted }));

/** Alone as well, but nothing that an op could sum with by itself: layer by layer. */
const LAYERWISE: Ranks = { rank: 0, size: 1, sum: ALONE.sum };

async function withRank<R>(
  shape: ModelShape,
  options: ModelOptions,
  use: (rank: RankModel) => Promise<R>,
  ranks: Ranks = ALONE,
): Promise<R> {
  const model = tinyModel(shape, options.weights ?? 'f32');
  const rank = loadRank(model, chooseOptions(model, { slots: 2, ...options }), ranks);
  try {
    return await use(rank);
  } finally {
    rank.dispose();
  }
}

test.each([
  ['a Llama, all layers in one op', TINY, ALONE, 0],
  ['a Llama, layer by layer', TINY, LAYERWISE, 2],
  ['experts', TINY_EXPERTS, ALONE, 3],
])('%s: a decode step takes so many more ops for a layer more', async (_, shape, ranks, more) => {
  const count = async (rank: RankModel) => {
    const ops = await profileOps(async () => {
      await rank.compute(prompt(0, [1], 0, 1));
    });
    return ops.reduce((sum, { calls }) => sum + calls, 0);
  };
  const opsOf = (layers: number) => withRank({ ...shape, layers }, {}, count, ranks);
  expect((await opsOf(3)) - (await opsOf(2))).toBe(more);
});

test.each<ModelOptions>([{}, { weights: 'q40', kvCache: 'q80' }])(
  'with %o all layers in one op have the bits of layer by layer',
  async (options) => {
    const use = (rank: RankModel) => rank.compute([...prompt(0, [1, 2, 3]), ...prompt(1, [4])]);
    expect(await withRank(TINY, options, use)).toEqual(await withRank(TINY, options, use, LAYERWISE));
  },
);

test.each<ModelOptions>([
  {},
  { weights: 'q40' },
  { weights: 'q80', kvCache: 'q80' },
  { weights: 'bf16', kvCache: 'bf16' },
])('with %o a step leaves no tensor, and closing nothing at all', async (options) => {
  await expectNoLeak(() =>
    withRank(TINY_EXPERTS, options, async (rank) => {
      await rank.compute(prompt(0, [1, 2, 3]));
      await expectNoLeak(() => rank.compute([...prompt(0, [4], 3), ...prompt(1, [5, 6], 0, 3)]));
    }),
  );
});

test.each([TINY, TINY_EXPERTS])('a rank lost amid a sum leaves nothing of the step', async (shape) => {
  let sums = 0;
  const ranks: Ranks = {
    ...{ rank: 0, size: 2 },
    async sum(part_ND, onto_ND) {
      if (++sums > 2) throw new Error('rank 1 is gone');
      return ALONE.sum(part_ND, onto_ND);
    },
  };
  const model = tinyModel(shape);
  await expectNoLeak(async () => {
    const rank = loadRank(model, chooseOptions(model), ranks);
    await expectNoLeak(() => expect(rank.compute(prompt(0, [1, 2]))).rejects.toThrow('rank 1 is gone'));
    rank.dispose();
  });
});

test('rows get what they want: nothing, the best, or all of them', async () => {
  await withRank(TINY, {}, async (rank) => {
    const rows: Row[] = [3, 1, 4, 1].map((token, position) => ({ token, slot: 0, position, wanted: 'nothing' }));
    const [all, best] = (await rank.compute([
      ...rows,
      { token: 5, slot: 0, position: 4, wanted: 'all' },
      { token: 5, slot: 1, position: 0, wanted: 'nothing' },
      { token: 9, slot: 1, position: 1, wanted: 3 },
    ])) as [Logits, Logits];
    expect([all.values.length, all.ids, best.ids?.length, best.values.length]).toEqual([50, undefined, 3, 3]);
    expect(await rank.compute(rows)).toEqual([]);
    const sum = all.values.reduce((total, value) => total + Math.exp(value), 0);
    expect(all.logSumExp).toBeCloseTo(Math.log(sum), 5); // float32 sums of 50 numbers
    const [again] = (await rank.compute(prompt(1, [9], 1))) as [Logits];
    const order = [...again.values.keys()].sort((a, b) => (again.values[b] as number) - (again.values[a] as number));
    expect([...(best.ids ?? [])]).toEqual(order.slice(0, 3));
    expect([...best.values]).toEqual(order.slice(0, 3).map((id) => again.values[id]));
  });
});

test('more are wanted than there are: all of them, in order', async () => {
  await withRank(TINY, {}, async (rank) => {
    const [logits] = (await rank.compute(prompt(0, [1], 0, 1000))) as [Logits];
    expect([...(logits.ids ?? [])].sort((a, b) => a - b)).toEqual([...Array(50).keys()]);
  });
});

test('a copied slot goes on as the first one does, and the first is not changed by what the copy does', async () => {
  await withRank(TINY, {}, async (rank) => {
    await rank.compute(prompt(0, [3, 1, 4, 1, 5]));
    rank.copySlot(0, 1, 3);
    const [copy] = await rank.compute(prompt(1, [7], 3));
    const [own] = await rank.compute(prompt(0, [9], 5));
    const [again] = await rank.compute(prompt(0, [7], 3)); // over what the cache holds
    expect(again).toEqual(copy);
    await rank.compute(prompt(0, [1, 5], 3));
    expect((await rank.compute(prompt(0, [9], 5)))[0]).toEqual(own);
  });
});

test('a window hides what lies before it', async () => {
  const last = (shape: ModelShape, tokens: number[]) =>
    withRank(shape, {}, async (rank) => (await rank.compute(prompt(0, tokens))).at(-1)?.values);
  // Two layers look back on 2 positions each: the last row depends on three tokens and no others.
  const windowed: ModelShape = { ...TINY, architecture: 'mistral', window: 2 };
  expect(await last(windowed, [8, 8, 2, 3, 4])).toEqual(await last(windowed, [9, 6, 2, 3, 4]));
  expect(await last(windowed, [8, 8, 2, 3, 4])).not.toEqual(await last(windowed, [8, 8, 1, 3, 4]));
  expect(await last(TINY, [8, 8, 2, 3, 4])).not.toEqual(await last(TINY, [9, 6, 2, 3, 4]));
});

test.each(['q40', 'q80'] as const)(
  'in %s, with activations as integers, a prompt is its tokens one by one, to the bit',
  async (weights) => {
    await withRank(TINY_EXPERTS, { weights, kvCache: 'q80' }, async (rank) => {
      const rows = prompt(0, [3, 1, 4, 1, 5, 9, 2, 6]);
      const atOnce = await rank.compute(rows);
      const oneByOne: Logits[] = [];
      for (const row of rows) oneByOne.push(...(await rank.compute([{ ...row, slot: 1 }])));
      expect(oneByOne).toEqual(atOnce);
    });
  },
);

test('caches of fewer bits give nearly the same logits', async () => {
  const logits = (kvCache: 'f32' | 'bf16' | 'q80') =>
    withRank(
      TINY,
      { kvCache },
      async (rank) => (await rank.compute(prompt(0, [3, 1, 4, 1, 5, 9, 2, 6]))).at(-1) as Logits,
    );
  const exact = (await logits('f32')).values;
  const length = (values: Float32Array) => Math.hypot(...values);
  for (const format of ['bf16', 'q80'] as const) {
    const off = (await logits(format)).values.map((value, i) => value - (exact[i] as number));
    expect(length(off)).toBeGreaterThan(0);
    // bfloat16 is off by up to 1/256 of a number, q80 by up to 1/254 of a block's largest; two layers pass it on.
    expect(length(off) / length(exact)).toBeLessThan(0.02);
  }
});
