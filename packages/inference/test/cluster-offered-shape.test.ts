import { expect, test } from 'vitest';
import { checkSizes, offeredShape } from '../src/cluster/offered-shape.ts';
import { chooseOptions } from '../src/load.ts';
import { GROK_1, type ModelShape } from '../src/shape.ts';
import { TINY_WIDE, tinyModel } from './tiny.ts';

const options = chooseOptions(tinyModel(TINY_WIDE));

test('shapes of models pass, Grok-1 too', () => {
  for (const shape of [TINY_WIDE, GROK_1, { ...TINY_WIDE, window: 8 }]) {
    expect(offeredShape.parse(shape)).toEqual(shape);
    checkSizes(shape, options);
  }
});

test('what no model has is refused number by number', () => {
  const wrong = [
    { theta: 0 },
    { heads: 0 },
    { layers: 1e6 },
    { ropeScaling: {} },
    { experts: { count: -1 } },
    { x: 1 },
  ];
  for (const part of wrong) expect(offeredShape.safeParse({ ...TINY_WIDE, ...part }).success).toBe(false);
});

const LARGE = 2 ** 30;
test.each<[string, Partial<ModelShape>, Partial<typeof options>]>([
  ["4 heads can't share 3 heads", { kvHeads: 3 }, {}],
  ['a head of 31 numbers', { headDim: 31 }, {}],
  ['3 of 2 experts', { experts: { count: 2, active: 3, normalized: true } }, {}],
  ['sequences of 65, where the model has 64', {}, { maxSeqLength: 65 }],
  [`model.embed_tokens.weight of ${LARGE} x 128 weights`, { vocabulary: LARGE }, {}],
  ['caches of', { maxPositions: LARGE }, { maxSeqLength: LARGE, slots: 4096 }],
  ['steps of 65536 rows of 33554432 numbers', { vocabulary: 2 ** 25 }, { maxRows: 65536 }],
])('%s', (says, shape, more) => {
  expect(() => checkSizes({ ...TINY_WIDE, ...shape }, { ...options, ...more })).toThrow(
    `the offer makes no sense: ${says}`,
  );
});
