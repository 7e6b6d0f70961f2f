/**
 * The bytes of a token of Llama 3 8B on 2, 4 and 8 ranks, counted in a run of its shape with two layers, against the
 * table that distributed-llama publishes for it (its README, Q80 buffers).
 *
 *     all of 32 layers = what is of no layer + 32 · (what two layers took / 2)
 */
import { MODELS } from '@fourfold/model';
import { openBackend } from '@fourfold/runtime';
import { beforeAll, expect, test } from 'vitest';
import { openRanks } from '../src/cluster/open-ranks.ts';
import { randomModel } from '../src/cluster/random-model.ts';
import { inferenceBytes } from '../src/cluster/traffic.ts';
import { measure, shapeOf } from '../src/commands/bench.ts';
import { bytesOf } from '../src/stored.ts';

beforeAll(async () => {
  await openBackend({ device: 'cpu', threads: 1 });
});

const LAYERS = MODELS['Llama-3-8B']?.layers ?? 0;
const row = { token: 0, slot: 0, position: 9, wanted: 1 } as const;

test.each([
  [2, 544],
  [4, 1632],
  [8, 3808],
])('%d ranks: at most %d kB a token', async (ranks, published) => {
  const shape = shapeOf({ shape: 'llama-3-8b', layers: 2 });
  const where = { workers: [], local: ranks, transfers: 'q80', timeoutMs: 300_000, threads: 1, log: () => {} } as const;
  const options = { maxSeqLength: 16, maxRows: 4 };
  const decoder = await openRanks(randomModel(shape, 'q40'), options, { ...where, random: 'q40' });
  const { sent, received } = await measure(decoder, 4, 3).finally(() => decoder.close());
  const common = { rows: [row], ranks, transfers: 'q80', embeddingBytes: 0 } as const;
  expect({ sent, received }).toEqual(inferenceBytes({ shape, ...common }));
  const noLayers = inferenceBytes({ shape: { ...shape, layers: 0 }, ...common });
  const rest = noLayers.sent + noLayers.received;
  // Random weights are drawn where they are held; workers without a model's file get a row of the embedding as well.
  const embedding = (ranks - 1) * bytesOf('q40', shape.dim);
  const kB = (rest + embedding + (LAYERS * (sent + received - rest)) / 2) / 1024;
  console.log(`Llama 3 8B on ${ranks} ranks: ${kB.toFixed(1)} kB a token; distributed-llama's table has ${published}`);
  expect(kB).toBeLessThanOrEqual(published);
});
