import { spmd } from '@fourfold/process-group';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { openCpu } from '../src/figures/backend.ts';
import { FIRST, jobOf } from '../src/train/choices.ts';
import { compared, formulas, sentBy } from '../src/train/traffic.ts';

test('the sum over ranks, and equal only where every rank is', () => {
  const formula = [
    { tp: 8, pp: 0 },
    { tp: 8, pp: 4 },
  ];
  const [right, wrong] = [
    [{ tp: 16 }, { tp: 16, pp: 8 }],
    [{ tp: 12 }, { tp: 20, pp: 8 }],
  ];
  expect(compared(right, formula, 2)).toEqual([
    { group: 'tp', sent: 32, formula: 32, equal: true },
    { group: 'pp', sent: 8, formula: 8, equal: true },
  ]);
  expect(compared(wrong, formula, 2)[0]).toEqual({ group: 'tp', sent: 32, formula: 32, equal: false });
  expect(compared([{ tp: 16 }], [{}], 2)).toEqual([{ group: 'tp', sent: 16, formula: 0, equal: false }]);
});

test('every rank has its formula, with the groups of its layout', async () => {
  const all = await formulas(jobOf(FIRST));
  expect(all).toHaveLength(16);
  expect(Object.keys(all[0] ?? {}).sort()).toEqual(['cp', 'dpCp', 'pp', 'tp']);
  const alone = { dp: 1, pp: 1, cp: 1, tp: 1, zero: false };
  expect(await formulas(jobOf({ ...FIRST, ...alone }))).toEqual([{}]);
});

test("a rank's bytes by group, without the world's", async () => {
  await openCpu();
  const sent = await spmd(2, async (world) => {
    const group = await world.split(0, world.rank, 'tp');
    const x = tf.ones([4]);
    tf.dispose([x, await group.allReduce(x), await world.allReduce(x)]);
    return sentBy(world.recorder);
  });
  expect(sent).toEqual([{ tp: 16 }, { tp: 16 }]);
});
