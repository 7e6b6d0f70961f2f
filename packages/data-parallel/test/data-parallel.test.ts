/** All versions find the gradients, and their norm, that one rank would find for all sequences. */
import type { Parameter } from '@fourfold/ops';
import { squaredNorm } from '@fourfold/optim';
import { spmd } from '@fourfold/process-group';
import { openBackend } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import {
  backward,
  disposeAll,
  FLOAT32,
  gap,
  gradientsOf,
  modelOf,
  numberOf,
  onMesh,
  parametersOf,
  reducedGradients,
  sameBits,
  sentOf,
  VERSIONS,
  type Version,
  valuesOf,
  versionsFor,
  wholeBatch,
} from './ranks.ts';

beforeAll(async () => void (await openBackend({ device: 'cpu' })));

// ## Exactness

/** The gradients of one rank that sees `count` sequences at once. */
async function gradientsAlone(tied: boolean, count: number): Promise<Float32Array[]> {
  const model = modelOf(tied);
  await wholeBatch(model, 0, count);
  const gradients = await valuesOf(model.parameters.map(({ grad }) => grad as tf.Tensor));
  disposeAll(model.parameters);
  return gradients;
}

const SOME: Version[] = ['naive', 'buckets of 20 kB', 'ZeRO, buckets of 20 kB'];
test.each([
  { ranks: 2, gradAccSteps: 3, tied: true, versions: versionsFor(2) },
  { ranks: 2, gradAccSteps: 3, tied: false, versions: versionsFor(2) },
  { ranks: 3, gradAccSteps: 1, tied: true, versions: versionsFor(3) },
  { ranks: 8, gradAccSteps: 1, tied: false, versions: SOME },
  { ranks: 1, gradAccSteps: 8, tied: true, versions: versionsFor(1) },
  { ranks: 4, gradAccSteps: 3, tied: false, versions: SOME },
  { ranks: 3, gradAccSteps: 8, tied: true, versions: SOME },
])('$ranks ranks x $gradAccSteps, tied $tied: one rank’s gradients, the same bits everywhere', async (run) => {
  const alone = await gradientsAlone(run.tied, run.ranks * run.gradAccSteps);
  let first: Float32Array[] | undefined;
  for (const version of run.versions)
    for (const gradients of await expectNoLeak(() => reducedGradients({ ...run, version }))) {
      first ??= gradients;
      expect(sameBits(gradients, first), version).toBe(true);
    }
  expect(gap(first as Float32Array[], alone)).toBeLessThanOrEqual(FLOAT32);
});

// ## The norm

test.each(['naive', 'default buckets', 'ZeRO', 'ZeRO, a bucket for each'] as const)(
  '%s: the squared norms of what ranks update add up to one rank’s',
  async (version) => {
    const model = modelOf(true);
    await wholeBatch(model, 0, 3);
    const alone = await numberOf(squaredNorm(model.parameters));
    const parts = await spmd(3, async (group) => {
      const mine = modelOf(true);
      const dataParallel = VERSIONS[version](mine.parameters, group, 1);
      await backward(mine, group, 0);
      await dataParallel.reduced();
      const part = await numberOf(squaredNorm(dataParallel.updated));
      disposeAll(dataParallel.updated, mine.parameters);
      return part;
    });
    disposeAll(model.parameters);
    const sum = parts.reduce((a, b) => a + b);
    expect(Math.abs(sum / alone - 1)).toBeLessThanOrEqual(FLOAT32);
    expect(Math.max(...parts)).toBeLessThan(alone); // none has counted all
  },
);

// ## Two mistakes of others

test.each(versionsFor(2))('%s: with cp=2 and dp=1 gradients are averaged too', async (version) => {
  const alone = await gradientsAlone(false, 2);
  await onMesh({ cp: 2 }, async ({ dp, dpCp }) => {
    const model = modelOf(false);
    const dataParallel = VERSIONS[version](model.parameters, dpCp, 1);
    await backward(model, dpCp, 0);
    await dataParallel.reduced();
    expect([dp.size, dpCp.size, Object.keys(sentOf(dpCp))]).toEqual([1, 2, ['dpCp']]);
    expect(gap(await gradientsOf(model.parameters, dataParallel), alone)).toBeLessThanOrEqual(FLOAT32);
    disposeAll(dataParallel.updated, model.parameters);
  });
});

test.each(versionsFor(2))('%s: gradients are averaged, and weights that differ are not', async (version) => {
  await spmd(2, async (group) => {
    const [weight] = parametersOf({ [`of rank ${group.rank}`]: [4, 3] }) as [Parameter];
    const [before] = await valuesOf([weight.value]);
    const { updated, reduced } = VERSIONS[version]([weight], group, 1);
    weight.accumulate(tf.fill([4, 3], group.rank));
    await reduced();
    expect(await valuesOf([weight.value])).toEqual([before]);
    const [gradient] = await valuesOf(updated.map(({ grad }) => grad as tf.Tensor));
    expect([...new Set(gradient)]).toEqual([0.5]);
    disposeAll(updated, [weight]);
  });
});
