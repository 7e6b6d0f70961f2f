/**
 * The kernels of inference by themselves: products with packed weights, and whole steps of a model's shape.
 *
 *     npx nx run bench:kernels
 *     npx nx run bench:kernels -- --shape llama-1b --format q40 --threads 2 --prompt 256 --position 512
 *     npx nx run bench:kernels -- --device cuda
 *
 * A product of one row reads all weights once, so that GB/s beside those of a plain copy say how near it is to what
 * memory can do; one of many rows is counted in 10^9 multiplications and additions a second. Each product goes through
 * matrices of 64 MB or more in turn: none of them is in a cache.
 *
 * A step runs the ops of all layers, of the embedding and the logits, on random weights: what tokens/s a model of this
 * shape could have if nothing else took time.
 */
import { availableParallelism, cpus } from 'node:os';
import { readConfig, runMain } from '@fourfold/cli';
import {
  type Activations,
  type AttentionWeights,
  attentionHalf,
  BLOCK_BYTES,
  bestLogits,
  type Cache,
  createCache,
  type FeedForwardWeights,
  feedForward,
  type Packed,
  packedProduct,
  packedRows,
  packWeight,
  type RopeTables,
  ropeFrequencies,
  ropeTables,
  rowBytes,
  type WeightFormat,
} from '@fourfold/ops';
import { constant, keyOf, openBackend, randomWords } from '@fourfold/runtime';
import { hostInts } from '@fourfold/runtime/shapes';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

const FORMATS = ['f32', 'bf16', 'q40', 'q41', 'q80'] as const;
const settings = z.object({
  device: z.enum(['cpu', 'cuda']).default('cpu').describe('whose kernels'),
  shape: z.enum(['both', 'smollm-135m', 'llama-1b', 'tiny', 'none']).default('both').describe('whose steps to time'),
  format: z.enum(FORMATS).default('q40').describe("of the steps' weights"),
  activations: z.enum(['float32', 'q80']).default('q80').describe('in the products'),
  cache: z.enum(['f32', 'bf16', 'q80']).default('f32').describe('how keys and values are kept'),
  threads: z.int().positive().default(availableParallelism()).describe('of TensorFlow'),
  prompt: z.int().positive().default(256).describe('rows of the step that takes a prompt'),
  position: z.int().nonnegative().default(128).describe('of the row of the step that goes on'),
  seconds: z.number().positive().default(1).describe('for each figure'),
  products: z.boolean().default(true).describe('time single products too'),
});
type Settings = z.infer<typeof settings>;

interface Shape {
  readonly name: string;
  readonly layers: number;
  readonly D: number;
  readonly H: number;
  readonly G: number;
  readonly F: number;
  readonly V: number;
}
const SHAPES: Shape[] = [
  { name: 'smollm-135m', layers: 30, D: 576, H: 9, G: 3, F: 1536, V: 49152 },
  { name: 'llama-1b', layers: 16, D: 2048, H: 32, G: 8, F: 8192, V: 128256 },
  { name: 'tiny', layers: 2, D: 64, H: 2, G: 1, F: 128, V: 512 },
];

/** Random weights whose scales are 2^-10: float16's bits 0x1400. */
function randomWeight(format: WeightFormat, rows: number, columns: number): Packed {
  const bytes = new Uint8Array(rows * rowBytes(format, columns));
  const words = randomWords(keyOf(1, `${rows} ${columns}`), 0, 4096);
  const some = new Uint8Array(words.buffer);
  for (let at = 0; at < bytes.length; at += some.length) bytes.set(some.subarray(0, bytes.length - at), at);
  const [size, scales] = [BLOCK_BYTES[format], format === 'q41' ? 2 : format === 'q40' || format === 'q80' ? 1 : 0];
  if (scales === 0) bytes.fill(0x38); // small floats
  for (let at = 0; at < bytes.length; at += size) for (let i = 0; i < scales; i++) bytes.set([0, 0x14], at + 2 * i);
  return packWeight(format, rows, columns, bytes);
}

/** Milliseconds of one call: the median over `seconds` of calls, after one. */
async function timeOf(seconds: number, work: () => Promise<void>): Promise<number> {
  await work();
  const times: number[] = [];
  const end = performance.now() + 1000 * seconds;
  while (performance.now() < end || times.length < 3) {
    const start = performance.now();
    await work();
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[times.length >> 1] as number;
}

const number = (value: number, digits = 1): string => value.toFixed(digits).padStart(8);

// ## Products

/** What a processor's products are compared with; a GPU's memory has its speed in its data sheet. */
async function timeCopy(seconds: number): Promise<void> {
  const from = new Uint8Array(1 << 28).fill(1);
  const to = new Uint8Array(from.length);
  const copy = await timeOf(seconds, async () => to.set(from));
  console.log(
    `a plain copy reads ${((from.length / copy) * 1e-6).toFixed(1)} GB/s (and writes as much), on one thread`,
  );
}

async function timeProducts({ device, seconds }: Settings): Promise<void> {
  if (device === 'cpu') await timeCopy(seconds);
  console.log('\nproduct                        1 row: GB/s       us     GMAC/s   64 rows: GMAC/s');
  for (const [O, I] of [
    [3072, 576],
    [16384, 2048],
  ] as const)
    for (const format of FORMATS)
      for (const activations of ['q80', 'float32'] as const)
        if (activations === 'float32' || BLOCK_BYTES[format] < 64)
          await timeProduct(O, I, format, activations, seconds);
}

async function timeProduct(O: number, I: number, format: WeightFormat, activations: Activations, seconds: number) {
  const bytes = O * rowBytes(format, I);
  const weights = Array.from({ length: Math.ceil(64e6 / bytes) }, () => randomWeight(format, O, I));
  const one = await timeOf(seconds, () => timeRows(weights, 1, activations));
  const many = await timeOf(seconds, () => timeRows(weights.slice(0, 1), 64, activations));
  for (const w of weights) w.dispose();
  const each = one / weights.length;
  const name = `${format} ${O} x ${I}, ${activations}`.padEnd(30);
  const macs = (O * I) / each / 1e6;
  console.log(
    `${name}${number(bytes / each / 1e6)} ${number(each * 1000)} ${number(macs)} ${number((64 * O * I) / many / 1e6)}`,
  );
}

/** N rows times each matrix; ends when the device has the last result. */
async function timeRows(weights: Packed[], N: number, activations: Activations): Promise<void> {
  const I = (weights[0] as Packed).columns;
  const x = constant(new Float32Array(N * I).fill(0.5), [N, I]);
  const last = tf.tidy(() => weights.map((w) => packedProduct(x, w, { activations })).at(-1) as Tensor);
  await last.data();
  tf.dispose([x, last]);
}

// ## Steps

interface Layer {
  readonly attention: AttentionWeights;
  readonly ffn: FeedForwardWeights;
  readonly cache: Cache;
}

interface Model {
  readonly shape: Shape;
  readonly layers: readonly Layer[];
  readonly words: Packed;
  readonly gain: Tensor;
  readonly tables: RopeTables;
}

const K = 64;

function makeModel(shape: Shape, { format, cache, prompt, position }: Settings): Model {
  const { D, H, G, F, V } = shape;
  const positions = Math.max(prompt, position + 1);
  const layer = (): Layer => ({
    attention: { qkv_JD: randomWeight(format, (H + 2 * G) * K, D), out_DH: randomWeight(format, D, H * K) },
    ffn: { up_2FD: randomWeight(format, 2 * F, D), down_DF: randomWeight(format, D, F) },
    cache: createCache({ slots: 1, positions, kvHeads: G, headDim: K, format: cache }),
  });
  return {
    shape,
    layers: Array.from({ length: shape.layers }, layer),
    words: randomWeight(format, V, D),
    gain: constant(new Float32Array(D).fill(1), [D]),
    tables: ropeTables(
      Array.from({ length: positions }, (_, i) => i),
      ropeFrequencies(K, 10000),
    ),
  };
}

/** The ops of one step: rows at these positions of one sequence, and the best of the last one's logits. */
async function step({ shape, layers, words, gain, tables }: Model, positions: number[], activations: Activations) {
  const N = positions.length;
  const rows = hostInts(Int32Array.from(positions.flatMap((position) => [0, position])), [N, 2]);
  const ids = hostInts(Int32Array.from(positions.map((position) => (position * 7919) % shape.V)), [N]);
  const norm = { gain_I: gain, epsilon: 1e-5 };
  const best = tf.tidy(() => {
    let x_ND = packedRows(words, ids);
    for (const { attention, ffn, cache } of layers) {
      const heads = { heads: shape.H, tables, scale: K ** -0.5 };
      x_ND = attentionHalf(x_ND, attention, cache, rows, { activations, norm, onto_ND: x_ND, ...heads });
      x_ND = feedForward(x_ND, ffn, { activations, norm, onto_ND: x_ND });
    }
    const last_1D = N === 1 ? x_ND : tf.slice(x_ND, [N - 1, 0], [1, -1]);
    const logits_1V = packedProduct(last_1D, words, { activations, norm });
    return Object.values(bestLogits(logits_1V, 40)) as Tensor[];
  });
  await (best[0] as Tensor).data();
  tf.dispose([rows, ids, ...best]);
}

async function timeSteps(shape: Shape, options: Settings): Promise<void> {
  const { format, activations, cache, prompt, position, seconds } = options;
  const model = makeModel(shape, options);
  const weights = [
    ...model.layers.flatMap(({ attention, ffn }) => [...Object.values(attention), ...Object.values(ffn)] as Packed[]),
    model.words,
  ];
  const bytes = weights.reduce((sum, w) => sum + w.bytes, 0);
  const prefill = await timeOf(seconds, () =>
    step(
      model,
      Array.from({ length: prompt }, (_, i) => i),
      activations,
    ),
  );
  const decode = await timeOf(seconds, () => step(model, [position], activations));
  console.log(
    `\n${shape.name}, ${format} weights (${(bytes / 1e6).toFixed(0)} MB), ${activations} activations, ${cache} cache`,
  );
  const rate = (tokens: number, ms: number) => `${((1000 * tokens) / ms).toFixed(1).padStart(8)} tokens/s`;
  console.log(`  prompt of ${prompt}:        ${rate(prompt, prefill)}  ${prefill.toFixed(1)} ms`);
  const read = (bytes / decode / 1e6).toFixed(1);
  console.log(`  one at position ${position}: ${rate(1, decode)}  ${decode.toFixed(2)} ms, ${read} GB/s of weights`);
}

async function main(): Promise<void> {
  const usage = "Times the kernels of inference: products with packed weights, and steps of a model's shape.";
  const name = 'nx run bench:kernels --';
  const config = readConfig({ schema: settings, argv: process.argv.slice(2), name, usage });
  const backend = await openBackend({ device: config.device, threads: config.threads });
  console.log(`${cpus()[0]?.model ?? 'unknown CPU'}, ${backend.description}`);
  if (config.products) await timeProducts(config);
  for (const shape of SHAPES)
    if (config.shape === shape.name || (config.shape === 'both' && shape.name !== 'tiny'))
      await timeSteps(shape, config);
}

await runMain(main);
