/** Shares of ranks: together they are the whole, and each has what its heads read. */

import { UserError } from '@fourfold/runtime/errors';
import { useBackend } from '@fourfold/runtime/testing';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ModelShape } from '../src/shape.ts';
import { bytesOfShare, checkRanks, evenPart, partOf, shareOf } from '../src/slices.ts';
import { lengthOf, type Span } from '../src/stored.ts';
import { loadShare } from '../src/weights.ts';
import { TINY, TINY_EXPERTS, tinyModel } from './tiny.ts';

test('nine heads on two ranks are five and four, and head 5 is the third of its group', () => {
  const shape: ModelShape = { ...TINY, heads: 9, kvHeads: 3, headDim: 64, ffn: 1536 };
  expect(shareOf(shape, 0, 2, true)).toMatchObject({ heads: [0, 5], kvHeads: [0, 2], headOffset: 0, ffn: [0, 768] });
  expect(shareOf(shape, 1, 2, true)).toMatchObject({ heads: [5, 9], kvHeads: [1, 3], headOffset: 2, ffn: [768, 1536] });
});

const shapes = fc
  .record({
    kvHeads: fc.integer({ min: 1, max: 5 }),
    group: fc.integer({ min: 1, max: 5 }),
    units: fc.integer({ min: 1, max: 9 }),
  })
  .map(({ kvHeads, group, units }): ModelShape => ({ ...TINY, kvHeads, heads: kvHeads * group, ffn: 32 * units }));

test('shares are consecutive, cover everything and differ by one; each head finds its keys on its own rank', () => {
  fc.assert(
    fc.property(shapes, fc.integer({ min: 1, max: 9 }), (shape, wanted) => {
      const ranks = Math.min(wanted, shape.heads, shape.ffn / 32);
      const shares = Array.from({ length: ranks }, (_, rank) => shareOf(shape, rank, ranks, true));
      const covers = (spans: Span[], count: number, unit = 1) => {
        expect(spans[0]?.[0]).toBe(0);
        expect(spans.at(-1)?.[1]).toBe(count);
        for (const [i, span] of spans.entries()) expect(span[0]).toBe(i === 0 ? 0 : spans[i - 1]?.[1]);
        const lengths = spans.map(lengthOf);
        expect(Math.max(...lengths) - Math.min(...lengths)).toBeLessThanOrEqual(unit);
        expect(Math.min(...lengths)).toBeGreaterThan(0);
      };
      covers(
        shares.map((share) => share.heads),
        shape.heads,
      );
      covers(
        shares.map((share) => share.ffn),
        shape.ffn,
        32,
      );
      covers(
        shares.map((share) => share.vocabulary),
        shape.vocabulary,
      );
      const group = shape.heads / shape.kvHeads;
      for (const { heads, kvHeads, headOffset } of shares)
        for (let head = heads[0]; head < heads[1]; head++) {
          const local = Math.floor((head - heads[0] + headOffset) / group);
          expect(kvHeads[0] + local).toBe(Math.floor(head / group));
          expect(local).toBeLessThan(lengthOf(kvHeads));
        }
    }),
  );
});

test('a feed-forward of few single numbers is cut anywhere', () => {
  const shape = { ...TINY, ffn: 40 };
  expect([0, 1, 2].map((rank) => lengthOf(shareOf(shape, rank, 3, false).ffn))).toEqual([14, 13, 13]);
  expect(lengthOf(shareOf({ ...TINY, ffn: 128 }, 0, 3, false).ffn)).toBe(64);
});

test.each<[string, Partial<ModelShape>, number, boolean, string]>([
  ['more than heads', {}, 7, false, "ranks=7 can't share the model's 6 heads: use 1 to 6"],
  ['none', {}, 0, false, "ranks=0 can't share the model's 6 heads: use 1 to 6"],
  ['a part of one', {}, 1.5, false, 'ranks=1.5'],
  ['more than blocks', {}, 5, true, "ranks=5 can't share the model's feed-forward of 128: use 1 to 4"],
  ['heads amid blocks', { headDim: 16 }, 2, true, "heads of 16 numbers can't be cut between blocks of 32: use 1"],
])('%s is refused with the numbers that would do', (_, changes, ranks, isBlocks, says) => {
  expect(() => checkRanks({ ...TINY, ...changes }, ranks, isBlocks)).toThrow(UserError);
  expect(() => checkRanks({ ...TINY, ...changes }, ranks, isBlocks)).toThrow(says);
});

test('the embedding is on no rank, unless it makes the logits', () => {
  const share = shareOf(TINY, 1, 2, false);
  expect(partOf('model.embed_tokens.weight', TINY, share)).toEqual({ rows: [25, 50] });
  expect(partOf('model.embed_tokens.weight', { ...TINY, tied: false }, share)).toBeUndefined();
  expect(partOf('lm_head.weight', { ...TINY, tied: false }, share)).toEqual({ rows: [25, 50] });
  expect(partOf('model.layers.0.mlp.experts.3.down_proj.weight', TINY, share)).toEqual({ columns: [64, 128] });
  expect(partOf('model.norm.weight', TINY, share)).toEqual({});
});

test.each([TINY, TINY_EXPERTS])('the bytes of a share are those that loading reads', async (shape) => {
  await useBackend('cpu');
  for (const ranks of [1, 2, 4]) {
    const reads = { bytes: 0, largest: 0 };
    const model = tinyModel(shape, 'q80', reads);
    const share = shareOf(shape, ranks - 1, ranks, true);
    loadShare(model, share).dispose();
    expect(reads.bytes).toBe(bytesOfShare(model, share));
  }
});

test('matrices of different formats that share a product count as the float32 that they become', () => {
  const model = tinyModel(TINY, 'q80', { bytes: 0, largest: 0 });
  const up = 'model.layers.0.mlp.up_proj.weight';
  const tensors = new Map(model.tensors).set(up, { format: 'q40', shape: [TINY.ffn, TINY.dim] });
  const share = shareOf(TINY, 0, 1, true);
  const more = bytesOfShare({ shape: TINY, tensors }, share) - bytesOfShare(model, share);
  expect(more).toBe(2 * TINY.ffn * TINY.dim * (4 - 34 / 32)); // gate and up both
});

test('even parts have the larger ones first', () => {
  expect([0, 1, 2, 3].map((i) => evenPart(10, i, 4))).toEqual([
    [0, 3],
    [3, 5],
    [5, 8],
    [8, 10],
  ]);
});
