/**
 * A training step on a GPU makes JavaScript wait nowhere, in any layout: no float that JavaScript makes is copied by
 * tfjs, and no tensor is read but one step late. int32 numbers may be made, for kernels that read them on the host:
 * tokens, axes, shapes.
 */
import { rankCount, spmd } from '@fourfold/process-group';
import { constant } from '@fourfold/runtime';
import { useBackend } from '@fourfold/runtime/testing';
import { type PretendedGpu, pretendGpu } from '@fourfold/runtime/testing/pretended-gpu';
import { expect, test } from 'vitest';
import { gradientsOf, numbersOf, openRank, type Rank, update, validate } from '../src/train.ts';
import { type Change, firstSteps, setupOf } from './run.ts';

const small = { layers: 2, microBatchSize: 2 };

/** Two steps and a validation on all ranks; returns the losses of the steps. `gpu` sees the second step alone. */
async function lossesOf(change: Change, gpu: PretendedGpu): Promise<number[]> {
  const setup = await setupOf({ ...small, ...change });
  const [losses = []] = await spmd(rankCount(setup.config), async (world) => {
    const rank = await openRank(setup, world);
    const step = async (number: number) => {
      const { sums, own } = await gradientsOf(rank, number);
      own.dispose();
      await update(rank, setup.config.learningRate, sums);
      return (await numbersOf(rank, sums)).loss;
    };
    const first = await step(0);
    await validate(rank); // which has other batches
    await world.barrier();
    gpu.forget();
    await world.barrier();
    const losses = [first, await step(1)];
    rank.optimizer.dispose();
    for (const parameter of new Set([...rank.parameters, ...rank.data.updated])) parameter.dispose();
    return losses;
  });
  setup.text.close();
  return losses;
}

test.each([
  {},
  { recompute: 'block', gradAccSteps: 2 },
  { recompute: 'selective' },
  { dp: 2 },
  { dp: 2, bucketMegabytes: 0 },
  { dp: 3, zero: true, bucketMegabytes: 0.02 }, // buckets that 3 doesn't divide are filled up with zeros
  { pp: 2, gradAccSteps: 2, tied: false },
  { pp: 2, ppEngine: 'interleaved', ppChunks: 2, layers: 4, gradAccSteps: 2 },
  { tp: 2, recompute: 'block' },
  { tp: 4, sequenceParallel: true, tied: false },
  { cp: 2, recompute: 'block' },
  { cp: 4, contextOrder: 'contiguous' },
  { dp: 2, pp: 2, cp: 2, tp: 2, gradAccSteps: 2 },
])('%j', async (change) => {
  const { losses } = await firstSteps({ ...small, ...change }, 2);
  await pretendGpu(async (gpu) => {
    const pretended = await lossesOf(change, gpu);
    expect(gpu.waits).toEqual([]);
    expect(gpu.calls.get('FourfoldProduct')).toBeGreaterThan(0); // it was CUDA's code,
    for (const [i, loss] of losses.entries()) expect(Math.abs((pretended[i] as number) / loss - 1)).toBeLessThan(1e-5);
  });
});

test('a step ends when the GPU has its numbers, not when JavaScript hears of them', async () => {
  await useBackend('cpu');
  const rank = { setup: { config: { pp: 2 } }, mesh: { world: { size: 4 } } } as unknown as Rank;
  await pretendGpu(async (gpu) => {
    gpu.ago = 1000;
    const before = performance.now();
    const { at, ...numbers } = await numbersOf(rank, constant([5, 9, 0, 4], [4]));
    expect(numbers).toEqual({ loss: 2.5, gradNorm: 3, stop: false, written: true });
    expect(at).toBeGreaterThanOrEqual(before - 1000);
    expect(at).toBeLessThanOrEqual(performance.now() - 1000);
  });
});
