/**
 * Ranks that train a small model together, each on its own sequences, and one rank that does the same alone.
 */
import { createLlama, initialize, initialWeights, type Llama, lossAndGradients, MODELS } from '@fourfold/model';
import { Parameter } from '@fourfold/ops';
import { AdamW, clipFactor, squaredNorm } from '@fourfold/optim';
import { createMesh, type Layout, type Mesh, type ProcessGroup, spmd } from '@fourfold/process-group';
import { type DType, keyOf, normals, randomWords, read, share } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import { bucketedDataParallel, type DataParallel, naiveDataParallel } from '../src/data-parallel.ts';

/**
 * n ranks add up the same float32 products as one, in another order: every sum over the batch rounds differently, by up
 * to 2^-24 = 6e-8 of what has been added up so far, and there are dozens of such sums on the way from the loss to the
 * embedding. The layouts are promised to agree to this, relative to a tensor's largest element.
 */
export const FLOAT32 = 2e-6;

// ## Versions

type Make = (parameters: readonly Parameter[], group: ProcessGroup, backwards: number) => DataParallel;
const buckets =
  (bucketBytes: number, zero = false): Make =>
  (parameters, group, backwards) =>
    bucketedDataParallel(parameters, group, { backwards, bucketBytes, zero });

/** 20 kB hold some parameters of `nano` (norms, k, v) and not others (up_proj: 48 kB); 1 byte holds none. */
export const VERSIONS = {
  naive: naiveDataParallel as Make,
  'default buckets': ((parameters, group, backwards) => bucketedDataParallel(parameters, group, { backwards })) as Make,
  'buckets of 20 kB': buckets(20_000),
  'a bucket for each': buckets(1),
  ZeRO: buckets(25 * 2 ** 20, true),
  'ZeRO, buckets of 20 kB': buckets(20_000, true),
  'ZeRO, a bucket for each': buckets(1, true),
};
export type Version = keyof typeof VERSIONS;
export const isZero = (version: Version): boolean => version.startsWith('ZeRO');
export const versionsFor = (ranks: number): Version[] =>
  (Object.keys(VERSIONS) as Version[]).filter((version) => ranks > 1 || !isZero(version));

// ## Models and sequences

const VOCABULARY = 61;
const T = 6;

export function modelOf(tied: boolean, dtype: DType = 'float32', gradDtype: DType = 'float32'): Llama {
  const config = { ...MODELS['nano'], vocabulary: VOCABULARY, tied } as Llama['config'];
  const model = createLlama(config, { dtype, gradDtype });
  initialize(model, initialWeights(1, config));
  return model;
}

/** `count` of the sequences of a step, from number `start`. */
export function sequences(step: number, start: number, count: number): [tokens_BT: Tensor, targets_BT: Tensor] {
  const words = randomWords(keyOf(1, `step ${step}`), 0, (start + count) * (T + 1)).slice(start * (T + 1));
  const whole = tf.tensor2d(
    Int32Array.from(words, (word) => word % VOCABULARY),
    [count, T + 1],
    'int32',
  );
  const cut = [tf.slice(whole, [0, 0], [count, T]), tf.slice(whole, [0, 1], [count, T])] as const;
  whole.dispose();
  return [...cut];
}

export async function numberOf(x: Tensor): Promise<number> {
  const [value = Number.NaN] = await read(x);
  x.dispose();
  return value;
}

/** The mean loss of a rank's micro-batches, one sequence each, whose gradients the parameters then have. */
export async function backward(model: Llama, { rank }: Pick<ProcessGroup, 'rank'>, step: number, gradAccSteps = 1) {
  let mean = 0;
  for (let i = 0; i < gradAccSteps; i++) {
    const batch = sequences(step, rank * gradAccSteps + i, 1);
    mean += (await numberOf(await lossAndGradients(model, ...batch, 1 / gradAccSteps))) / gradAccSteps;
    tf.dispose(batch);
  }
  return mean;
}

// ## Runs

export interface Run {
  readonly ranks: number;
  readonly version: Version;
  readonly gradAccSteps: number;
  readonly tied: boolean;
  /** Clipping's; 0 for none. */
  readonly limit?: number;
}
export const STEPS = 5;
const RATE = 0.01;
const OPTIONS = { weightDecay: 0.1 };

/** After STEPS steps: the losses, the norms and the factors of clipping, and the weights. */
export interface Result {
  readonly losses: number[];
  readonly norms: number[];
  readonly factors: number[];
  readonly weights: Float32Array[];
}

/** Trains; returns each rank's result. */
export const train = ({ ranks, version, gradAccSteps, tied, limit = 0 }: Run): Promise<Result[]> =>
  spmd(ranks, async (group) => {
    const model = modelOf(tied);
    const dataParallel = VERSIONS[version](model.parameters, group, gradAccSteps);
    const sum = (square: Tensor) => group.allReduce(square);
    return steps(model, dataParallel, limit, sum, (step) => backward(model, group, step, gradAccSteps));
  });

/** The same on one rank that sees all sequences of a step at once, without any data parallelism. */
export async function trainAlone({ ranks, gradAccSteps, tied, limit = 0 }: Omit<Run, 'version'>): Promise<Result> {
  const model = modelOf(tied);
  const wholeGradients = async () => new Map<Parameter, Tensor>();
  const alone = { updated: model.parameters, reduced: async () => {}, gathered: async () => {}, wholeGradients };
  return steps(
    model,
    alone,
    limit,
    async (square) => share(square),
    (step) => wholeBatch(model, step, ranks * gradAccSteps),
  );
}

export async function wholeBatch(model: Llama, step: number, count: number): Promise<number> {
  const batch = sequences(step, 0, count);
  const loss = await numberOf(await lossAndGradients(model, ...batch));
  tf.dispose(batch);
  return loss;
}

async function steps(
  model: Llama,
  { updated, reduced, gathered }: Omit<DataParallel, 'bytes'>,
  limit: number,
  sum: (square: Tensor) => Promise<Tensor>,
  gradients: (step: number) => Promise<number>,
): Promise<Result> {
  const optimizer = new AdamW(updated, OPTIONS);
  const result: Result = { losses: [], norms: [], factors: [], weights: [] };
  for (let step = 0; step < STEPS; step++) {
    result.losses.push(await gradients(step));
    await reduced();
    const square = squaredNorm(updated);
    const squares = await sum(square);
    const norm = Math.sqrt(await numberOf(squares.clone()));
    result.norms.push(norm);
    result.factors.push(clipFactor(norm, limit));
    optimizer.update(RATE, { squares, clip: limit });
    tf.dispose([square, squares]);
    await gathered();
  }
  result.weights.push(...(await valuesOf(model.parameters.map(({ value }) => value))));
  optimizer.dispose();
  disposeAll(updated, model.parameters);
  return result;
}

/** What a version makes of the first step's gradients, by parameter. */
export const reducedGradients = ({ ranks, version, gradAccSteps, tied }: Run): Promise<Float32Array[][]> =>
  spmd(ranks, async (group) => {
    const model = modelOf(tied);
    const dataParallel = VERSIONS[version](model.parameters, group, gradAccSteps);
    await backward(model, group, 0, gradAccSteps);
    await dataParallel.reduced();
    const gradients = await gradientsOf(model.parameters, dataParallel);
    disposeAll(dataParallel.updated, model.parameters);
    return gradients;
  });

/**
 * The reduced gradients by parameter. ZeRO keeps parts of them, in an order of its own; taken for new weights they come
 * back whole where the weights were.
 */
export async function gradientsOf(parameters: readonly Parameter[], { updated, gathered }: DataParallel) {
  if (updated === parameters) return valuesOf(parameters.map(({ grad }) => grad as Tensor));
  for (const part of updated) {
    part.value.dispose();
    part.value = share(part.grad as Tensor);
  }
  await gathered();
  return valuesOf(parameters.map(({ value }) => value));
}

// ## Parameters without a model

/** Normal numbers, the same for the same name. */
export const randn = (name: string, shape: readonly number[]): Tensor =>
  tf.tensor(normals(keyOf(1, name), 0, tf.util.sizeFromShape([...shape]), 1), [...shape]);

/** Parameters with values, in forward's order. */
export const parametersOf = (shapes: Readonly<Record<string, readonly number[]>>): Parameter[] =>
  Object.entries(shapes).map(([name, shape]) => Parameter.of(name, randn(name, shape)));

/** Backward of them: the last parameter first. */
export function accumulate(parameters: readonly Parameter[], who: string): void {
  for (const parameter of [...parameters].reverse())
    parameter.accumulate(randn(`${parameter.name} ${who}`, parameter.shape));
}

/** Runs `check` on every rank of a mesh. */
export const onMesh = <R>(layout: Partial<Layout>, check: (mesh: Mesh) => Promise<R>): Promise<R[]> => {
  const whole = { dp: 1, pp: 1, cp: 1, tp: 1, ...layout };
  return spmd(whole.dp * whole.pp * whole.cp * whole.tp, async (world) => {
    const mesh = await createMesh(world, whole);
    world.recorder.reset();
    return check(mesh);
  });
};

/** Bytes that a rank has sent, by group. */
export function sentOf({ recorder }: ProcessGroup): Record<string, number> {
  const sent: Record<string, number> = {};
  for (const { group, bytes } of recorder.totals()) sent[group] = (sent[group] ?? 0) + bytes;
  return sent;
}

// ## Comparing

export const valuesOf = async (tensors: readonly Tensor[]): Promise<Float32Array[]> => {
  const values: Float32Array[] = [];
  for (const tensor of tensors) values.push(Float32Array.from(await read(tensor)));
  return values;
};

export function disposeAll(...lists: (readonly Parameter[])[]): void {
  for (const parameter of new Set(lists.flat())) parameter.dispose();
}

const bits = (arrays: readonly Float32Array[]): string =>
  arrays.map(({ buffer }) => Buffer.from(buffer).toString('base64')).join(' ');

export const sameBits = (a: readonly Float32Array[], b: readonly Float32Array[]): boolean => bits(a) === bits(b);

/** The largest difference of two tensors' elements, relative to the largest element; the largest of all tensors. */
export function gap(actual: readonly ArrayLike<number>[], expected: readonly ArrayLike<number>[]): number {
  expect(actual.map(({ length }) => length)).toEqual(expected.map(({ length }) => length));
  const gaps = expected.map((wanted, i) => {
    const numbers = Array.from(wanted);
    const largest = Math.max(...numbers.map(Math.abs));
    return Math.max(...numbers.map((x, j) => Math.abs(x - ((actual[i] as ArrayLike<number>)[j] as number)))) / largest;
  });
  return Math.max(...gaps);
}
