/** Training with all versions: the losses of one rank, and the same weights on all ranks, to the bit. */
import { openBackend } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import { beforeAll, describe, expect, test } from 'vitest';
import { FLOAT32, type Result, type Run, sameBits, train, trainAlone, type Version } from './ranks.ts';

beforeAll(async () => void (await openBackend({ device: 'cpu' })));

const SOME: Version[] = ['naive', 'buckets of 20 kB', 'ZeRO, buckets of 20 kB'];
describe('5 steps of AdamW', () => {
  /** Fails unless all ranks end with the same weights, and lost what one rank would have. Returns rank 0's result. */
  async function trained(run: Run, alone: Result): Promise<Result> {
    const results = await expectNoLeak(() => train(run));
    const [first] = results as [Result];
    for (const { weights, norms } of results) {
      expect(sameBits(weights, first.weights), run.version).toBe(true);
      expect(norms).toEqual(first.norms);
    }
    for (const [step, loss] of alone.losses.entries()) {
      const mean = results.reduce((sum, { losses }) => sum + (losses[step] as number), 0) / run.ranks;
      expect(Math.abs(mean - loss) / loss, `${run.version}, step ${step}`).toBeLessThanOrEqual(1e-5);
    }
    return first;
  }

  test.each([
    { ranks: 2, gradAccSteps: 3, tied: false, versions: SOME },
    { ranks: 3, gradAccSteps: 1, tied: true, versions: SOME },
    { ranks: 8, gradAccSteps: 1, tied: true, versions: SOME.slice(1) },
  ])(
    '$ranks ranks x $gradAccSteps: without clipping all versions end with the same bits',
    async ({ versions, ...run }) => {
      const alone = await trainAlone(run);
      const results: Result[] = [];
      for (const version of versions) results.push(await trained({ ...run, version }, alone));
      for (const { weights } of results) expect(sameBits(weights, (results[0] as Result).weights)).toBe(true);
    },
  );

  // The norm's squares are added up parameter by parameter, or with ZeRO part by part: its last bit may differ.
  test.each([
    { ranks: 2, gradAccSteps: 3, tied: true, limit: 1 },
    { ranks: 4, gradAccSteps: 1, tied: false, limit: 1 },
  ])('$ranks ranks x $gradAccSteps: with clipping naive and buckets do, ZeRO but for a rounding', async (run) => {
    const alone = await trainAlone(run);
    expect(Math.max(...alone.factors)).toBeLessThan(1); // clipping acts on every step
    const naive = await trained({ ...run, version: 'naive' }, alone);
    const buckets = await trained({ ...run, version: 'a bucket for each' }, alone);
    expect(sameBits(buckets.weights, naive.weights)).toBe(true);
    expect(buckets.norms).toEqual(naive.norms);
    const zero = await trained({ ...run, version: 'ZeRO, buckets of 20 kB' }, alone);
    for (const { norms } of [naive, zero])
      expect(Math.abs((norms[0] as number) / (alone.norms[0] as number) - 1)).toBeLessThanOrEqual(FLOAT32);
  });
});
