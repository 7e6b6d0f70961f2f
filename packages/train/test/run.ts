/** Trains in this process, for tests: a text, settings on top of small ones, and what came of it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gatherWhole } from '@fourfold/checkpoint';
import { openRunLog } from '@fourfold/metrics';
import { parameterShapes } from '@fourfold/model';
import { rankCount, spmd } from '@fourfold/process-group';
import { disk, findStart } from '@fourfold/run';
import { prepare, type Setup, settings } from '@fourfold/settings';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll } from 'vitest';
import { gradientsOf, numbersOf, openRank, trainRank, update } from '../src/train.ts';

export const folder = mkdtempSync(join(tmpdir(), 'fourfold-train-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A text with something to learn: which animal does what depends on a number eleven words back. */
export const text = join(folder, 'text.txt');
const animals = ['whale', 'gull', 'shark', 'squid'];
const line = (i: number) => `${i % 7} ${animals[(i * i) % 4]}s swim to the ${animals[(i + 1) % 4]} and sing\n`;
writeFileSync(text, Array.from({ length: 900 }, (_, i) => line(i)).join(''));

const small = { model: 'nano', data: text, seqLength: 32, microBatchSize: 4, device: 'cpu', learningRate: 1e-2 };
export type Change = Readonly<Record<string, unknown>>;

export const setupOf = (change: Change): Promise<Setup> =>
  prepare(settings.parse({ ...small, evalSequences: 8, sampleTokens: 0, ...change }));

/** A whole run by train's own loop, or the rest of one that left checkpoints. */
export async function trained(change: Change): Promise<{ said: string; losses: number[]; validation: number }> {
  const setup = await setupOf(change);
  const [pieces, losses]: [string[], number[]] = [[], []];
  const screen = { write: (piece: string) => pieces.push(piece) > 0 };
  const log = openRunLog({ title: 'test', steps: setup.config.steps, screen });
  const step: typeof log.step = (figures) => {
    losses.push(figures.loss);
    log.step(figures);
  };
  const body = async (world: Parameters<typeof trainRank>[1]) => {
    const found = await findStart(setup, world, () => {});
    return trainRank(setup, world, { disk, found, log: world.rank === 0 ? { ...log, step } : undefined });
  };
  const [validation = Number.NaN] = await spmd(rankCount(setup.config), body);
  log.close();
  setup.text.close();
  return { said: pieces.join(''), losses, validation };
}

export interface Steps {
  readonly losses: number[];
  readonly norms: number[];
  /** The first step's, of the whole tensors. */
  readonly gradients: Map<string, Float32Array>;
}

/** The first steps, with the first one's gradients. */
export async function firstSteps(change: Change, count: number): Promise<Steps> {
  const setup = await setupOf(change);
  const { config, shape } = setup;
  const [first] = await spmd(rankCount(config), async (world) => {
    const rank = await openRank(setup, world);
    const result: Steps = { losses: [], norms: [], gradients: new Map() };
    for (let step = 0; step < count; step++) {
      const { sums, own } = await gradientsOf(rank, step);
      own.dispose();
      if (step === 0) {
        const mine = await rank.data.wholeGradients();
        const whole = await gatherWhole(
          parameterShapes(shape),
          rank.parameters,
          rank.mesh,
          (p) => mine.get(p) as Tensor,
        );
        for (const [name, gradient] of whole) result.gradients.set(name, (await gradient.data()) as Float32Array);
        tf.dispose([...whole.values(), ...mine.values()]);
      }
      await update(rank, config.learningRate, sums);
      const { loss, gradNorm } = await numbersOf(rank, sums);
      result.losses.push(loss);
      result.norms.push(gradNorm);
    }
    rank.optimizer.dispose();
    for (const parameter of new Set([...rank.parameters, ...rank.data.updated])) parameter.dispose();
    return result;
  });
  setup.text.close();
  return first as Steps;
}
