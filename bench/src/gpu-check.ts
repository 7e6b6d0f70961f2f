/**
 * Whether the GPU's fused ops compute what the stock kernels do: every layer, forward and backward, in both dtypes; and
 * whether inference's ops do on packed weights (gpu-packed.ts); whether the whole model gives PyTorch's numbers
 * (gpu-model-check.ts); and whether a step of training is enqueued
 * while the GPU is busy, with nobody waiting for it.
 *
 *     npx nx run bench:gpu-check
 *     npx nx run bench:gpu-check -- --device cpu       the CPU's fused ops, which are for float32 alone
 *
 * A layer runs three times on the same inputs, which are numbers that bfloat16 can hold: in the stock kernels in
 * float32, fused in float32, and fused in bfloat16. The differences are given
 *
 *   for float32      as a part of the largest element: sums in another order, some units of 2^-24 = 6e-8
 *   for bfloat16     in units in the last place of the float32 result rounded to bfloat16, for what is computed element
 *                    by element (half a unit is the rounding itself, and the bound is 2); where rounded numbers are
 *                    added up, as a part of the largest element (2^-8 is one rounding)
 *
 * Each fused run is done twice: the bits must be the same.
 */
import { readConfig, runMain } from '@fourfold/cli';
import { type LlamaConfig, MODELS } from '@fourfold/model';
// biome-ignore format: a list
import {
  causalAttention, crossEntropy, embedding, kernels, type Layer, linear, Parameter, rmsNorm, rope, ropeFrequencies,
  ropeTables, swiglu,
} from '@fourfold/ops';
import { cast, type DType, keyOf, normals, openBackend, RunError, randomWords, read, zeros } from '@fourfold/runtime';
import { stockKernels, tensorflow } from '@fourfold/runtime/tensorflow';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { relative, sameBits, units, worstOf } from './difference.ts';
import { checkModels } from './gpu-model-check.ts';
import { checkPacked } from './gpu-packed.ts';
import { PARALLEL_CASES } from './gpu-parallel.ts';
import { trainingStep } from './gpu-step.ts';

/** A layer at one shape, and how far its results may be from the stock kernels'. */
export interface Case {
  readonly name: string;
  readonly inputs: readonly number[][];
  readonly weights?: readonly number[][];
  /** Standard deviation of the weights (default 1). */
  readonly std?: number;
  readonly layer: (weights: Parameter[]) => Layer<readonly Tensor[], readonly Tensor[]>;
  /** Of float32, in parts of the largest element. */
  readonly float32: number;
  /** 'ulp': within two units in the last place; else in parts of the largest element. */
  readonly bfloat16: 'ulp' | number;
}

/** A layer of one tensor as one of a tuple. */
const single =
  (layer: Layer): Layer<readonly Tensor[], readonly Tensor[]> =>
  async ([x]) => {
    const [y, pull] = await layer(x as Tensor);
    return [[y], Object.assign(async ([dy]: readonly Tensor[]) => [await pull(dy as Tensor)], { drop: pull.drop })];
  };

/** The loss with its gradient, as a layer: dy is not used. */
const loss =
  (w_VD: Parameter): Layer<readonly Tensor[], readonly Tensor[]> =>
  async ([x_ND]) => {
    const targets = ids(x_ND?.shape[0] as number, w_VD.shape[0] as number);
    const [value, pull] = await crossEntropy(w_VD, { chunkBytes: 2 ** 18 })(x_ND as Tensor, targets);
    targets.dispose();
    return [[value], Object.assign(async () => [await pull()], { drop: pull.drop })];
  };

/** The rows of a table, as a layer without inputs: it has a gradient by its table alone. */
const rows =
  (w_VD: Parameter, N: number): Layer<readonly Tensor[], readonly Tensor[]> =>
  async () => {
    const tokens = ids(N, w_VD.shape[0] as number);
    const [x, pull] = await embedding(w_VD)(tokens);
    tokens.dispose();
    const backward = async ([dx]: readonly Tensor[]) => {
      await pull(dx as Tensor);
      return [];
    };
    return [[x], Object.assign(backward, { drop: pull.drop })];
  };

const ids = (N: number, V: number): Tensor =>
  tf.tensor1d(
    Array.from(randomWords(keyOf(3, 'ids'), 0, N), (word) => (word % V) % 97),
    'int32',
  );

const turned = (T: number, K: number, kvHeads: number): Layer =>
  rope(
    ropeTables(
      Int32Array.from({ length: T }, (_, t) => t),
      ropeFrequencies(K, 1e4),
    ),
    kvHeads,
  );

/** B, T, H and K, and G of k and v, which are heads of the same tensor as q's. */
const attention = ([B, T, H, K]: [number, number, number, number], G: number): Case => ({
  name: `attention ${[B, T, H, K]} on ${G} heads`,
  inputs: [[B, T, H + 2 * G, K]],
  layer: () => single(causalAttention({ kvHeads: G })),
  float32: 4e-6,
  bfloat16: 2 ** -6,
});

// Attention rounds o, and dP - D cancels what o lost: 2^-6. A product's inputs are exact, and its sum is rounded once.
const CASES: readonly Case[] = [
  ...[64, 2048, 999, 8192].map((D) => ({
    name: `rmsNorm, D ${D}`,
    inputs: [[100, D]],
    weights: [[D]],
    layer: ([w]: Parameter[]) => single(rmsNorm(w as Parameter, 1e-5)),
    float32: 2e-6,
    bfloat16: 'ulp' as const,
  })),
  {
    name: 'swiglu',
    inputs: [[33, 2002]],
    layer: () => single(swiglu),
    float32: 1e-6,
    bfloat16: 'ulp',
  },
  {
    name: 'rope, 8 and 2 heads',
    inputs: [[2, 50, 12, 64]],
    layer: () => single(turned(50, 64, 2)),
    float32: 1e-6,
    bfloat16: 'ulp',
  },
  attention([2, 256, 4, 64], 4),
  attention([2, 200, 8, 64], 2),
  attention([1, 130, 3, 128], 3),
  attention([1, 77, 4, 18], 2),
  {
    name: 'linear 300 x 512 · 512 x 768',
    inputs: [[300, 512]],
    weights: [[768, 512]],
    layer: ([w]) => single(linear(w as Parameter)),
    float32: 2e-6,
    bfloat16: 2 ** -8,
  },
  {
    name: 'linear of 3 weights, 300 x 512 · 512 x 768',
    inputs: [[300, 512]],
    weights: [
      [512, 512],
      [128, 512],
      [128, 512],
    ],
    layer: (weights) => single(linear(...weights)),
    float32: 2e-6,
    bfloat16: 2 ** -8,
  },
  {
    name: 'crossEntropy, V 1003',
    inputs: [[150, 64]],
    weights: [[1003, 64]],
    std: 1 / 8, // so that logits are numbers around 1
    layer: ([w]) => loss(w as Parameter),
    float32: 4e-6,
    bfloat16: 2 ** -6,
  },
  {
    name: 'embedding, V 500',
    inputs: [],
    weights: [[500, 96]],
    layer: ([w]) => rows(w as Parameter, 3000),
    float32: 1e-6,
    bfloat16: 2 ** -8,
  },
];

/** Normal numbers that bfloat16 holds exactly. */
const exact = (name: string, shape: readonly number[], dtype: DType, std = 1): Tensor =>
  tf.tidy(() => {
    const size = shape.reduce((product, side) => product * side, 1);
    const x = tf.tensor(normals(keyOf(7, `${name} ${shape}`), 0, size, std), [...shape]);
    return cast(cast(x, 'bfloat16'), dtype);
  });

/** All that a layer gives: its values, the gradients by its inputs, those by its weights. */
async function run({ inputs, weights = [], std = 1, layer }: Case, dtype: DType): Promise<Float32Array[]> {
  const xs = inputs.map((shape, i) => exact(`x${i}`, shape, dtype));
  const parameters = weights.map((shape, i) => Parameter.of(`w${i}`, exact(`w${i}`, shape, dtype, std)));
  const [ys, pull] = await layer(parameters)(xs);
  const dys = ys.map((y, i) => exact(`dy${i}`, y.shape, dtype));
  const dxs = await pull(dys);
  const results = [...ys, ...dxs, ...parameters.map((p) => p.grad as Tensor)];
  const numbers = await Promise.all(results.map(async (x) => Float32Array.from(await read(x))));
  tf.dispose([...xs, ...ys, ...dys, ...dxs]);
  for (const parameter of parameters) parameter.dispose();
  return numbers;
}

/** A case in one dtype, twice over: how far it is from the stock kernels, in words, and whether that is near enough. */
async function compare(one: Case, dtype: 'float32' | 'bfloat16', stock: Float32Array[]) {
  const ours = await run(one, dtype);
  const same = sameBits(ours, await run(one, dtype));
  const inUnits = one[dtype] === 'ulp';
  // A weight's gradient, the last result, is float32 and a sum over rows: it isn't rounded to bfloat16 at all.
  const error = worstOf(ours, stock, inUnits ? units : relative);
  const good = same && error <= (one[dtype] === 'ulp' ? 2 : one[dtype]);
  const figure = dtype === 'float32' ? error.toExponential(1) : error.toPrecision(2);
  return { good, words: `${dtype} ${figure} (${inUnits ? '2 ulp' : one[dtype]})${same ? '' : ', other bits!'}` };
}

/** Prints a line, and returns whether the case holds, in the dtypes that the device has fused ops for. */
async function check(one: Case): Promise<boolean> {
  const stock = await stockKernels(() => run(one, 'float32'));
  const results: Awaited<ReturnType<typeof compare>>[] = [];
  for (const dtype of ['float32', 'bfloat16'] as const)
    if (tensorflow().fusedDtypes.includes(dtype)) results.push(await compare(one, dtype, stock));
  const good = results.every((result) => result.good);
  const words = results.map((result) => result.words).join('   ');
  console.log(`${good ? 'ok  ' : 'FAIL'} ${one.name.padEnd(40)} ${words}`);
  return good;
}

async function checkLayers(): Promise<boolean[]> {
  console.log("\nlayers against TensorFlow's own kernels in float32: largest difference (bound)");
  const results: boolean[] = [];
  for (const one of [...CASES, ...PARALLEL_CASES]) results.push(await check(one));
  return results;
}

/** Prints how long enqueuing a step takes while the GPU is busy with products, and returns whether nobody waited. */
async function goesOn(): Promise<boolean> {
  const config = { ...(MODELS['micro'] as LlamaConfig), vocabulary: 256 };
  const how = { dtype: 'bfloat16', gradients: 'bfloat16', moments: 'bfloat16', masterWeights: false } as const;
  const options = { ...how, recompute: 'block', deterministic: true } as const;
  const step = trainingStep({ ...options, config, batch: 4, seq: 512 });
  const x = zeros([8192, 8192]);
  let [host, busy] = [0, 0];
  for (let i = 0; i < 4; i++) {
    tensorflow().cuda?.mark();
    for (let j = 0; j < 20; j++) kernels.matmul(x, x).dispose();
    tensorflow().cuda?.mark();
    const start = performance.now();
    const { loss } = await step();
    host = performance.now() - start;
    await loss;
    busy = tensorflow().cuda?.marks()[1] ?? 0;
  }
  x.dispose();
  const good = host < busy / 2;
  console.log(
    `${good ? 'ok  ' : 'FAIL'} a step is enqueued in ${host.toFixed(1)} ms, the GPU is busy for ${busy.toFixed(1)}`,
  );
  return good;
}

const PARTS = ['layers', 'packed', 'model', 'waiting'] as const;
const settings = z.object({
  device: z.enum(['cuda', 'cpu']).default('cuda').describe('whose ops'),
  only: z
    .array(z.enum(PARTS))
    .default([...PARTS])
    .describe('what to check'),
});

async function main(): Promise<void> {
  const usage = "Checks a device's fused ops against stock kernels, and a model on it against PyTorch's numbers.";
  const config = readConfig({
    schema: settings,
    argv: process.argv.slice(2),
    name: 'nx run bench:gpu-check --',
    usage,
  });
  const { device, only } = config;
  console.log((await openBackend({ device })).description);
  const layers = only.includes('layers') ? await checkLayers() : [];
  const packed = only.includes('packed') ? await checkPacked(console.log) : [];
  const models = only.includes('model') ? await checkModels(console.log) : [];
  const isFree = device === 'cpu' || !only.includes('waiting') || (await goesOn());
  const differ = Object.entries({ layers, 'cases of inference': packed, models })
    .map(([name, results]) => ({ name, of: results.length, failed: results.filter((good) => !good).length }))
    .filter(({ failed }) => failed > 0)
    .map(({ name, of, failed }) => `${failed} of ${of} ${name}`);
  if (differ.length > 0) throw new RunError(`${differ.join(' and ')} differ`);
  if (!isFree) throw new RunError('a step waits for the GPU');
}

await runMain(main);
