import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { spmd } from '../src/local/local.ts';
import { checkLayout, coordinatesOf, createMesh, type Layout, labelOf, rankCount, rankOf } from '../src/mesh.ts';
import { overTcp, useTensorflow } from './worlds.ts';

beforeAll(useTensorflow);

const side = fc.integer({ min: 1, max: 5 });
const layouts = fc.record({ dp: side, pp: side, cp: side, tp: side });

test('ranks count tp fastest, then cp, pp, dp', () => {
  const layout = { dp: 2, pp: 3, cp: 2, tp: 4 };
  expect(rankOf({ dp: 0, pp: 0, cp: 0, tp: 1 }, layout)).toBe(1);
  expect(rankOf({ dp: 0, pp: 0, cp: 1, tp: 0 }, layout)).toBe(4);
  expect(rankOf({ dp: 0, pp: 1, cp: 0, tp: 0 }, layout)).toBe(8);
  expect(rankOf({ dp: 1, pp: 0, cp: 0, tp: 0 }, layout)).toBe(24);
});

test('coordinatesOf undoes rankOf, for every rank of any layout', () => {
  fc.assert(
    fc.property(layouts, (layout) => {
      const ranks = Array.from({ length: rankCount(layout) }, (_, rank) => rank);
      expect(ranks.map((rank) => rankOf(coordinatesOf(rank, layout), layout))).toEqual(ranks);
      for (const rank of ranks) expect(coordinatesOf(rank, layout).dp).toBeLessThan(layout.dp);
    }),
    { numRuns: 50 },
  );
});

test('a label names the dimensions that have several ranks', () => {
  expect(labelOf({ dp: 1, pp: 0, cp: 0, tp: 3 }, { dp: 2, pp: 1, cp: 1, tp: 4 })).toBe('dp1 tp3');
  expect(labelOf({ dp: 0, pp: 0, cp: 0, tp: 0 }, { dp: 1, pp: 1, cp: 1, tp: 1 })).toBe('');
});

test('each group holds the ranks that differ in its dimensions alone, in order', async () => {
  const layout = { dp: 2, pp: 2, cp: 2, tp: 2 };
  const differs = (rank: number, dimensions: (keyof Layout)[]) => {
    const mine = coordinatesOf(rank, layout);
    const all = Array.from({ length: 16 }, (_, other) => coordinatesOf(other, layout));
    const fixed = (['dp', 'pp', 'cp', 'tp'] as const).filter((dimension) => !dimensions.includes(dimension));
    return [...all.keys()].filter((other) => fixed.every((dimension) => all[other]?.[dimension] === mine[dimension]));
  };
  const meshes = await spmd(16, (world) => createMesh(world, layout));
  for (const [rank, mesh] of meshes.entries()) {
    for (const dimension of ['dp', 'pp', 'cp', 'tp'] as const) {
      expect(mesh[dimension].ranks).toEqual(differs(rank, [dimension]));
      expect(mesh[dimension].rank).toBe(mesh.coordinates[dimension]);
    }
    expect(mesh.dpCp.ranks).toEqual(differs(rank, ['dp', 'cp']));
    expect(mesh.label).toBe(labelOf(coordinatesOf(rank, layout), layout));
  }
});

test.each([
  ['local', spmd],
  ['tcp', overTcp],
] as const)('%s: groups of a mesh add up their own ranks', async (_, run) => {
  const layout = { dp: 2, pp: 1, cp: 2, tp: 2 };
  const sums = await run(8, async (world) => {
    const mesh = await createMesh(world, layout);
    const mine = tf.scalar(2 ** world.rank);
    const groups = [mesh.dp, mesh.pp, mesh.cp, mesh.tp, mesh.dpCp];
    const results = await Promise.all(groups.map((group) => group.allReduce(mine))); // all at once
    const values = results.map((sum) => sum.dataSync()[0] as number);
    tf.dispose([mine, ...results]);
    return { values, groups: groups.map((group) => group.ranks) };
  });
  for (const { values, groups } of sums)
    expect(values).toEqual(groups.map((ranks) => ranks.reduce((sum, rank) => sum + 2 ** rank, 0)));
});

test('a mesh tells the launcher its place', async () => {
  const places: string[] = [];
  await spmd(2, async (world) => {
    world.onPlace = (place) => places.push(place);
    await createMesh(world, { dp: 2, pp: 1, cp: 1, tp: 1 });
  });
  expect(places).toEqual(['dp0', 'dp1']);
});

test('a layout that does not make the world is refused in a sentence', async () => {
  const layout = { dp: 2, pp: 1, cp: 1, tp: 3 };
  expect(() => checkLayout(layout, 4)).toThrow('dp=2 x pp=1 x cp=1 x tp=3 is 6 ranks, but the world has 4');
  expect(() => checkLayout({ ...layout, tp: 0 }, 4)).toThrow(
    'tp=0 is no number of ranks: use a whole number of at least 1',
  );
  await expect(spmd(4, (world) => createMesh(world, layout))).rejects.toThrow('is 6 ranks');
});
