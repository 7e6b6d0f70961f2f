/** The figure of the mesh against the rule that numbers ranks. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { DIMENSIONS, meshFigure, meshSummary, sharedBy } from '../src/figures/mesh.ts';

beforeAll(() => tf.setBackend('cpu'));

test('rank = ((dp · PP + pp) · CP + cp) · TP + tp, and a group differs in its dimension alone', async () => {
  const layout = { dp: 3, pp: 2, cp: 1, tp: 4 };
  const ranks = await meshFigure(layout);
  expect(ranks).toHaveLength(24);
  for (const { rank, place, groups } of ranks) {
    expect(((place.dp * layout.pp + place.pp) * layout.cp + place.cp) * layout.tp + place.tp).toBe(rank);
    for (const dimension of DIMENSIONS) {
      expect(groups[dimension]).toHaveLength(layout[dimension]);
      for (const [i, other] of groups[dimension].entries())
        expect(ranks[other]?.place).toEqual({ ...place, [dimension]: i });
    }
  }
});

test('of two ranks, what they share', async () => {
  const ranks = await meshFigure({ dp: 2, pp: 2, cp: 2, tp: 2 });
  const first = ranks[0] as NonNullable<(typeof ranks)[number]>;
  expect([0, 1, 2, 4, 8, 3].map((other) => sharedBy(first, other))).toEqual([[], ['tp'], ['cp'], ['pp'], ['dp'], []]);
  expect(tf.memory().numTensors).toBe(0);
});

test('a rank in words', async () => {
  const [, one] = await meshFigure({ dp: 1, pp: 2, cp: 1, tp: 2 });
  expect(meshSummary(one as NonNullable<typeof one>)).toBe(
    'Rank 1 is dp0 pp0 cp0 tp1. It shares pp with 3 (activations between stages, once a micro-batch); ' +
      'tp with 0 (partial sums, several times a layer).',
  );
  const [alone] = await meshFigure({ dp: 1, pp: 1, cp: 1, tp: 1 });
  expect(meshSummary(alone as NonNullable<typeof alone>)).toBe('Rank 0 is dp0 pp0 cp0 tp0. It is alone.');
});
