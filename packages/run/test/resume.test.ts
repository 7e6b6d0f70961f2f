import { join } from 'node:path';
import type { Found } from '@fourfold/checkpoint';
import { spmd } from '@fourfold/process-group';
import { read, UserError } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { aboutOf, checkResumed, findStart, openSaver, type Rank, restore } from '../src/index.ts';
import { type Change, folder, onRanks, setupOf, step } from './ranks.ts';

let counter = 0;
const newFolder = () => join(folder, `checkpoints-${counter++}`);

/** Two steps and a checkpoint. */
async function saved(change: Change, checkpoints = newFolder()): Promise<string> {
  await onRanks({ checkpoints, ...change }, async (rank) => {
    const saver = await openSaver(rank, () => {});
    for (const number of [1, 2]) await step(rank, number);
    await saver?.save(aboutOf(rank, 2, { losses: [1, 2], norms: [3, 4] }));
    await saver?.close();
  });
  return checkpoints;
}

const bits = async (rank: Rank): Promise<string[]> => {
  const all: string[] = [];
  for (const one of rank.data.updated)
    for (const tensor of Object.values(rank.optimizer.stateOf(one)) as Tensor[])
      all.push(`${tensor.shape} ${await read(tensor)}`);
  return all;
};

test.each<Change>([{}, { dp: 2, zero: true, tp: 2 }, { precision: 'bfloat16', moments: 'float32' }])(
  'restored, a rank goes on with the same bits: %j',
  async (change) => {
    const checkpoints = await saved(change);
    const third = async (rank: Rank) => {
      await step(rank, 3);
      return bits(rank);
    };
    const whole = await onRanks(change, async (rank) => {
      for (const number of [1, 2]) await step(rank, number);
      return third(rank);
    });
    const again = async (rank: Rank) => {
      const found = await findStart(rank.setup, rank.mesh.world, () => {});
      expect(found?.manifest).toMatchObject({ step: 2, updates: 2, window: { losses: [1, 2], norms: [3, 4] } });
      await restore(rank, found as Found);
      return third(rank);
    };
    const resumed = await expectNoLeak(() => onRanks({ ...change, checkpoints }, again));
    expect(resumed).toEqual(whole);
  },
);

test("where a run begins: auto, none, a path; and later checkpoints are in nobody's way unseen", async () => {
  const checkpoints = await saved({});
  const start = async (change: Change) => {
    const setup = await setupOf({ checkpoints, ...change });
    const [found] = await spmd(1, (world) => findStart(setup, world, () => {}));
    setup.text.close();
    return found?.manifest.step;
  };
  expect(await start({})).toBe(2);
  expect(await start({ resume: join(checkpoints, 'step-000002') })).toBe(2);
  expect(await start({ resume: checkpoints, checkpoints: newFolder() })).toBe(2);
  expect(await start({ checkpoints: newFolder() })).toBeUndefined();
  expect(await start({ checkpoints: undefined })).toBeUndefined();
  await expect(start({ resume: 'none' })).rejects.toThrow(/holds step-000002 already: go on there by resume=auto/);
  await expect(start({ resume: join(folder, 'nowhere') })).rejects.toThrow(UserError);
});

test("what may not differ is refused, what changes the way on is said, the rest is nobody's business", async () => {
  const checkpoints = await saved({});
  const check = async (change: Change) => {
    const setup = await setupOf({ checkpoints, ...change });
    const said: string[] = [];
    try {
      await spmd(1, async (world) =>
        checkResumed(setup, (await findStart(setup, world, () => {})) as Found, (line) => said.push(line)),
      );
    } finally {
      setup.text.close();
    }
    return said;
  };
  const path = join(checkpoints, 'step-000002');
  const resumed = `resumed ${path}, step 2 of a run of dp1 x pp1 x cp1 x tp1`;
  expect(await check({ dp: 2, microBatchSize: 1, zero: true, recompute: 'block' })).toEqual([resumed]);
  expect(await check({ learningRate: 0.5, steps: 9 })).toEqual([
    resumed,
    'from here on the run is another than the one that saved: ' +
      'steps=9, saved with 400; learningRate=0.5, saved with 0.003',
  ]);
  for (const [change, sentence] of [
    [{ seed: 2 }, /^seed=2 can't go on from .*step-000002, saved with seed=1: use that, or resume=none$/],
    [{ seqLength: 64 }, /^seqLength=64 .*seqLength=32/],
    [{ layers: 3 }, /^layers=3 .*layers=2/],
    [{ microBatchSize: 4 }, /^dp x microBatchSize x gradAccSteps = 4 .* saved with 2 sequences a step/],
    [{ moments: 'bfloat16' }, /^moments=bfloat16 .*moments=float32/],
    [{ precision: 'bfloat16' }, /^precision=bfloat16 .*precision=float32/],
    [{ validationFraction: 0.2 }, /^validationFraction=0.2 .*validationFraction=0.1/],
    [{ data: 'moby-dick' }, /^data=moby-dick of \d+ tokens can't go on from/],
  ] as const) {
    await expect(check(change)).rejects.toThrow(sentence);
    await expect(check(change)).rejects.toThrow(UserError);
  }
});

test('a run without a folder has no saver', async () => {
  expect(await onRanks({}, (rank) => openSaver(rank, () => {}))).toEqual([undefined]);
});
