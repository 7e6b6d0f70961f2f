/**
 * Ranks that hold the same weights must move them alike, to the bit: also where bfloat16 weights are rounded at random.
 */
import { spmd } from '@fourfold/process-group';
import { read } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { gradientsOf, openRank, update } from '../src/train.ts';
import { setupOf } from './run.ts';

const shape = { dim: 32, heads: 4, kvHeads: 2, ffn: 64, layers: 2, tied: true, microBatchSize: 1 };
const narrow = { precision: 'bfloat16', moments: 'bfloat16', masterWeights: false };

/** A rank's parts of the parameters after three steps, by name and by which part of the whole they are. */
async function weightsAfterThreeSteps(layout: Record<string, unknown>): Promise<[string, string][][]> {
  const setup = await setupOf({ ...shape, ...narrow, ...layout });
  const { dp = 1, pp = 1, tp = 1 } = layout as Record<string, number>;
  const all = await spmd(dp * pp * tp, async (world) => {
    const rank = await openRank(setup, world);
    for (let step = 0; step < 3; step++) {
      const { sums, own } = await gradientsOf(rank, step);
      await update(rank, 0.01, sums);
      tf.dispose([sums, own]);
    }
    const weights: [string, string][] = [];
    for (const { name, shard, value } of rank.parameters)
      weights.push([`${name} ${shard?.index ?? 0} of ${shard?.of ?? 1}`, `${await read(value)}`]);
    rank.optimizer.dispose();
    for (const parameter of new Set([...rank.parameters, ...rank.data.updated])) parameter.dispose();
    return weights;
  });
  setup.text.close();
  return all;
}

const narrower = { gradientPrecision: 'bfloat16' };
test.each([
  { dp: 2 },
  { tp: 4 },
  { pp: 2, gradAccSteps: 2 },
  { dp: 2, pp: 2, gradAccSteps: 2, zero: true },
  { dp: 2, pp: 2, tp: 2, ...narrower },
  { dp: 2, tp: 2, zero: true, ...narrower },
])('weights that several ranks hold stay the same bits: %j', async (layout) => {
  const all = (await weightsAfterThreeSteps(layout)).flat();
  const first = new Map(all.toReversed());
  expect(first.size).toBeLessThan(all.length); // several do
  for (const [part, weights] of all) expect(weights === first.get(part), part).toBe(true);
});
