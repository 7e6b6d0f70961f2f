/**
 * What the tests of pipeline parallelism share: a model on one rank, which is right, and the same on a pipeline.
 */
import type { Batch } from '@fourfold/data';
import {
  createLlama,
  initialize,
  initialWeights,
  type Llama,
  type LlamaConfig,
  lossAndGradients,
  MODELS,
  type Recompute,
} from '@fourfold/model';
import type { Parameter } from '@fourfold/ops';
import { squaredNorm } from '@fourfold/optim';
import { type ProcessGroup, spmd } from '@fourfold/process-group';
import { type DType, keyOf, randomWords, read } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import { applyPipelineParallel, type Engine, type Ran, runPipeline } from '../src/pipeline-parallel.ts';

/**
 * A stage computes what one rank computes, with the same kernels on the same numbers: what differs is in which order
 * the two gradients of tied embeddings, and those of micro-batches, are added up. Every order rounds differently.
 */
export const FLOAT32 = 2e-6;

/** Small, and with 7 layers, which no number of stages but 7 divides. */
export const tiny: LlamaConfig = {
  ...(MODELS['nano'] as LlamaConfig),
  ...{ layers: 7, dim: 32, heads: 4, kvHeads: 2, headDim: 8, ffn: 48, vocabulary: 40 },
};

export interface Case {
  readonly config: LlamaConfig;
  readonly engine: Engine;
  readonly pp: number;
  readonly chunks: number;
  /** m, called gradAccSteps in a run. */
  readonly micros: number;
  readonly balance?: 'layers' | 'cost';
  readonly recompute?: Recompute;
  readonly dtype?: DType;
}

// ## Data

/** [B, T] of all batches. */
const sides = [2, 6] as const;
export const tokensOf = sides[0] * sides[1];

/** Micro-batches of random tokens, each another, or `only` one again and again. */
export function batchesOf({ config, micros }: Pick<Case, 'config' | 'micros'>, only?: number): Batch[] {
  const tokens = (name: string) =>
    Int32Array.from(randomWords(keyOf(1, name), 0, tokensOf), (word) => word % config.vocabulary);
  return Array.from({ length: micros }, (_, i) => {
    const micro = only ?? i;
    return { inputs_BT: tokens(`inputs ${micro}`), targets_BT: tokens(`targets ${micro}`), shape: sides };
  });
}

export async function numberOf(x: Tensor): Promise<number> {
  const [value = Number.NaN] = await read(x);
  x.dispose();
  return value;
}

// ## One rank

/** What one rank finds: the mean loss, every gradient, and the sum of their squares. */
export interface Truth {
  readonly loss: number;
  readonly gradients: ReadonlyMap<string, ArrayLike<number>>;
  readonly squared: number;
}

export async function truthOf({ config, recompute = 'none' }: Case, batches: readonly Batch[]): Promise<Truth> {
  const model = createLlama(config, { recompute });
  initialize(model, initialWeights(1, config));
  let loss = 0;
  for (const { inputs_BT, targets_BT, shape } of batches) {
    const [inputs, targets] = [tf.tensor(inputs_BT, [...shape], 'int32'), tf.tensor(targets_BT, [...shape], 'int32')];
    loss += (await numberOf(await lossAndGradients(model, inputs, targets, 1 / batches.length))) / batches.length;
    tf.dispose([inputs, targets]);
  }
  const gradients = new Map<string, ArrayLike<number>>();
  for (const { name, grad } of model.parameters) gradients.set(name, await read(grad as Tensor));
  const squared = await numberOf(squaredNorm(model.parameters));
  dispose(model.parameters);
  return { loss, gradients, squared };
}

// ## A pipeline

/** This rank's parts, with their weights. Calls so far are forgotten. */
export async function partsOf(it: Case, pp: ProcessGroup): Promise<Llama[]> {
  const { config, dtype = 'float32', recompute = 'none' } = it;
  const parts = await applyPipelineParallel(createLlama(config, { dtype, recompute }), pp, it.chunks, it.balance);
  for (const part of parts) initialize(part, initialWeights(1, config));
  pp.recorder.reset();
  return parts;
}

export const parametersOf = (parts: readonly Llama[]): Parameter[] => parts.flatMap(({ parameters }) => parameters);

export const dispose = (parameters: readonly Parameter[]): void => {
  for (const parameter of parameters) parameter.dispose();
};

/** Adds up each gradient that is a part of a sum over the ranks that have the others, as a step does at its end. */
export async function sumPartialGradients(parameters: readonly Parameter[]): Promise<void> {
  for (const parameter of parameters) {
    const { grad, partial } = parameter;
    if (!grad || !partial) continue;
    parameter.grad = await partial.allReduce(grad);
    grad.dispose();
  }
}

/** What one rank of the pipeline finds. */
export interface Outcome {
  readonly loss: number;
  readonly gradients: ReadonlyMap<string, ArrayLike<number>>;
  /** Σ g² of the rank's share of all parameters. */
  readonly squared: number;
  readonly ran: readonly Ran[];
  /** That it sent to other stages. */
  readonly bytes: number;
}

/** One step on pp ranks, which may leave no tensor behind. */
export const pipelineOf = (it: Case, batches: readonly Batch[]): Promise<Outcome[]> =>
  expectNoLeak(() =>
    spmd(it.pp, async (pp) => {
      const parts = await partsOf(it, pp);
      const parameters = parametersOf(parts);
      const { loss, ran } = await runPipeline(parts, pp, batches, it);
      const sent = pp.recorder.totals().filter(({ operation }) => operation === 'sendReceive');
      await sumPartialGradients(parameters);
      const gradients = new Map<string, ArrayLike<number>>();
      for (const { name, grad } of parameters) gradients.set(name, await read(grad as Tensor));
      const squared = await numberOf(squaredNorm(parameters));
      dispose(parameters);
      return { loss: await numberOf(loss), gradients, squared, ran, bytes: sent[0]?.bytes ?? 0 };
    }),
  );

/** Fails unless the pipeline found what one rank finds: loss, gradients of all parameters, norm. */
export function expectSame(outcomes: readonly Outcome[], truth: Truth): void {
  expect(Math.abs((outcomes.at(-1)?.loss ?? Number.NaN) / truth.loss - 1)).toBeLessThan(1e-6);
  for (const { loss } of outcomes.slice(0, -1)) expect(loss).toBe(0);
  const seen = new Set(outcomes.flatMap(({ gradients }) => [...gradients.keys()]));
  expect([...seen].sort()).toEqual([...truth.gradients.keys()].sort());
  for (const { gradients } of outcomes)
    for (const [name, gradient] of gradients)
      expect(gapOf(gradient, truth.gradients.get(name) ?? []), name).toBeLessThanOrEqual(FLOAT32);
  const squared = outcomes.reduce((sum, outcome) => sum + outcome.squared, 0);
  expect(Math.abs(squared / truth.squared - 1)).toBeLessThan(FLOAT32);
}

/** The largest difference between two lists, in largest elements of the second. */
export function gapOf(ours: ArrayLike<number>, theirs: ArrayLike<number>): number {
  const right = Array.from(theirs);
  const gap = Math.max(...Array.from(ours).map((x, i) => Math.abs(x - (right[i] ?? Number.NaN))));
  return gap === 0 ? 0 : gap / Math.max(...right.map(Math.abs));
}

/** The most forwards a rank has run without their backwards. */
export function mostInFlight(actions: readonly { readonly kind: 'forward' | 'backward' }[]): number {
  let [held, most] = [0, 0];
  for (const { kind } of actions) {
    held += kind === 'forward' ? 1 : -1;
    most = Math.max(most, held);
  }
  return most;
}
