/**
 * What the tests of tensor parallelism share: models and tensors, whole on one rank and split over several.
 */
import {
  createLlama,
  initialize,
  initialWeights,
  type Llama,
  type LlamaConfig,
  lossAndGradients,
  type Recompute,
} from '@fourfold/model';
import { Parameter } from '@fourfold/ops';
import { type ProcessGroup, spmd } from '@fourfold/process-group';
import { type DType, keyOf, normals, randomWords, read } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import { applyTensorParallel, replicated, sequenceSplit } from '../src/tensor-parallel.ts';

/**
 * n ranks add up the same float32 products as one, in another order: first each its own, then over the ranks. Every
 * order rounds differently, by up to 2^-24 = 6e-8 of what has been added up so far, and from the loss to the first
 * block there are dozens of such sums. In 500 random models gradients differed by up to 1.2e-6 of their largest
 * element.
 */
export const FLOAT32 = 2e-6;

// ## Tensors

export const randn = (name: string, shape: number[], std = 1): Tensor => {
  const size = shape.reduce((product, side) => product * side, 1);
  return tf.tensor(normals(keyOf(1, `${name} ${shape}`), 0, size, std), shape, 'float32');
};

/** Integers below `below`, as an int32 tensor. */
export const integers = (name: string, shape: number[], below: number): Tensor => {
  const size = shape.reduce((product, side) => product * side, 1);
  const words = Int32Array.from(randomWords(keyOf(1, `${name} ${shape}`), 0, size), (word) => word % below);
  return tf.tensor(words, shape, 'int32');
};

/** Part `index` of n equal parts along an axis; without an axis all of it. */
export const part = (whole: Tensor, axis: number | undefined, index: number, n: number): Tensor =>
  tf.tidy(() => (axis === undefined ? whole.clone() : (tf.split(whole, n, axis)[index] as Tensor)));

/** A parameter of normal numbers, or the part of it that a rank holds. */
export function parameter(name: string, shape: number[], axis = 0, { rank, size }: Ranks = { rank: 0, size: 1 }) {
  const parameter = new Parameter(name, shape);
  parameter.shard = { axis, index: rank, of: size };
  parameter.value = tf.tidy(() => part(randn(name, shape), axis, rank, size));
  return parameter;
}
type Ranks = Pick<ProcessGroup, 'rank' | 'size'>;

export async function numberOf(x: Tensor): Promise<number> {
  const [value = Number.NaN] = await read(x);
  x.dispose();
  return value;
}

/** Fails unless the shapes are equal and no element is further off than `tolerance` of the expected's largest. */
export async function expectClose(actual: Tensor | undefined, expected: Tensor, what: string, tolerance = FLOAT32) {
  expect(actual?.shape, what).toEqual(expected.shape);
  const [ours, theirs] = [Array.from(await read(actual as Tensor)), Array.from(await read(expected))];
  const largest = Math.max(...theirs.map(Math.abs));
  const gap = Math.max(...ours.map((x, i) => Math.abs(x - (theirs[i] as number)))); // NaN, if there is one
  expect(gap === 0 ? 0 : gap / largest, what).toBeLessThanOrEqual(tolerance);
}

/** Fails unless `actual` is this rank's part of `whole` (see `part`). */
export async function expectPart(
  actual: Tensor | undefined,
  whole: Tensor,
  axis: number | undefined,
  { rank, size }: Ranks,
  what: string,
  tolerance = FLOAT32,
): Promise<void> {
  const own = part(whole, axis, rank, size);
  await expectClose(actual, own, what, tolerance);
  own.dispose();
}

// ## Layers

/** An edge, and the axis along which the residual stream outside it is split: tokens, or none. */
export const edges = {
  replicated: { edgeOf: replicated, stream: undefined },
  sequenceSplit: { edgeOf: sequenceSplit, stream: 0 },
};
export type EdgeName = keyof typeof edges;

/** Runs `check` on every rank, which may leave no tensor behind; all must return the same. */
export async function onRanks<R>(ranks: number, check: (group: ProcessGroup) => Promise<R>): Promise<R> {
  const [first, ...others] = await expectNoLeak(() => spmd(ranks, check));
  for (const other of others) expect(other).toEqual(first);
  return first as R;
}

/** A rank's calls while `run` ran: { allReduce: 2 }. */
export async function callsOf<R>({ recorder }: ProcessGroup, run: () => Promise<R>) {
  recorder.reset();
  const result = await run();
  const calls = Object.fromEntries(recorder.totals().map(({ operation, calls }) => [operation, calls]));
  return [result, calls] as const;
}

// ## Models

export interface Case {
  readonly config: LlamaConfig;
  readonly B: number;
  readonly T: number;
  readonly dtype?: DType;
  readonly recompute?: Recompute;
}

/** A model with its weights: whole, or what a rank of `tp` holds of it. Its calls so far are forgotten. */
export async function modelOf(
  { config, dtype = 'float32', recompute = 'none' }: Omit<Case, 'B' | 'T'>,
  tp?: ProcessGroup,
  sequenceParallel = false,
): Promise<Llama> {
  const model = createLlama(config, { dtype, recompute });
  if (tp) await applyTensorParallel(model, tp, { sequenceParallel });
  initialize(model, initialWeights(1, config));
  tp?.recorder.reset();
  return model;
}

/** The mean loss of one batch, whose gradients the parameters then have. */
export async function lossOf(model: Llama, { B, T }: Case): Promise<number> {
  const [tokens, targets] = ['tokens', 'targets'].map((name) => integers(name, [B, T], model.config.vocabulary));
  const loss = await numberOf(await lossAndGradients(model, tokens as Tensor, targets as Tensor));
  tf.dispose([tokens, targets] as Tensor[]);
  return loss;
}

/** Adds up each gradient that is a part of a sum over the ranks that have the others, as a step does at its end. */
export async function sumPartialGradients(model: Llama): Promise<void> {
  for (const parameter of model.parameters) {
    const { grad, partial } = parameter;
    if (!grad || !partial) continue;
    parameter.grad = await partial.allReduce(grad);
    grad.dispose();
  }
}

export const dispose = (parameters: Parameter[]): void => {
  for (const one of parameters) one.dispose();
};
