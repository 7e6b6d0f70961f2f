/** Ranks of a small run, for tests: a text, settings on top of small ones, and the model cut along dp and tp. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bucketedDataParallel } from '@fourfold/data-parallel';
import { createLlama, initialize, initialWeights } from '@fourfold/model';
import { AdamW, squaredNorm } from '@fourfold/optim';
import { createMesh, type ProcessGroup, rankCount, spmd } from '@fourfold/process-group';
import { keyOf, normals } from '@fourfold/runtime';
import { prepare, type Setup, settings } from '@fourfold/settings';
import { applyTensorParallel } from '@fourfold/tensor-parallel';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll } from 'vitest';
import type { Rank } from '../src/index.ts';

export const folder = mkdtempSync(join(tmpdir(), 'fourfold-run-'));
afterAll(() => rmSync(folder, { recursive: true }));
export const text = join(folder, 'text.txt');
writeFileSync(text, 'It was the best of times, it was the worst of times.\n'.repeat(100));

const small = { model: 'nano', data: text, seqLength: 32, microBatchSize: 2, device: 'cpu', evalSequences: 2 };
export type Change = Readonly<Record<string, unknown>>;
export const setupOf = (change: Change = {}): Promise<Setup> => prepare(settings.parse({ ...small, ...change }));

/** A rank as the training loop has it, but for pipeline and context parallelism. */
export async function rankOf(setup: Setup, world: ProcessGroup): Promise<Rank> {
  const { config, shape } = setup;
  const mesh = await createMesh(world, config);
  const model = createLlama(shape, { dtype: config.precision });
  await applyTensorParallel(model, mesh.tp, { sequenceParallel: false });
  initialize(model, initialWeights(config.seed, shape));
  const { parameters } = model;
  const bucketBytes = config.bucketMegabytes * 2 ** 20;
  const data = bucketedDataParallel(parameters, mesh.dpCp, { backwards: 1, bucketBytes, zero: config.zero });
  return { setup, mesh, parts: [model], parameters, data, optimizer: new AdamW(data.updated, config) };
}

/** Gradients that depend on the step alone, and an update by them. `spoil` may change them before. */
export async function step(rank: Rank, number: number, spoil: (rank: Rank) => void = () => {}): Promise<void> {
  for (const one of rank.parameters)
    for (let use = 0; use < one.uses; use++) {
      const size = one.shape.reduce((a, b) => a * b, 1);
      one.accumulate(tf.tensor(normals(keyOf(number, one.name), 0, size, 0.1), [...one.shape]));
    }
  await rank.data.reduced();
  spoil(rank);
  const squares = squaredNorm(rank.data.updated);
  const all = await rank.mesh.world.allReduce(squares);
  rank.optimizer.update(0.01, { squares: all, clip: 1 });
  tf.dispose([squares, all]);
  await rank.data.gathered();
}

export function free(rank: Rank): void {
  rank.optimizer.dispose();
  for (const parameter of new Set([...rank.parameters, ...rank.data.updated])) parameter.dispose();
}

/** Runs `body` as all ranks of a setup. */
export async function onRanks<R>(change: Change, body: (rank: Rank) => Promise<R>): Promise<R[]> {
  const setup = await setupOf(change);
  const results = await spmd(rankCount(setup.config), async (world) => {
    const rank = await rankOf(setup, world);
    const result = await body(rank);
    free(rank);
    return result;
  });
  setup.text.close();
  return results;
}
