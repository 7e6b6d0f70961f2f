/**
 * Whether the ops of inference compute on a device what plain TypeScript and tfjs-core compute of the same weights:
 * part `packed` of gpu-check.ts. The processor's own ops are held to the same in packages/ops/test.
 *
 * A case runs twice on the device, whose bits must not differ, and once in stock kernels. The bounds, in parts of the
 * largest element:
 *
 *   FLOAT32   sums in another order, some units of 2^-24 = 6e-8
 *   FLIPPED   where a number is rounded after others were added up (normalized x to q80, keys to a cache), the last bit
 *             of the sum can turn it to its neighbour: 1/127 of the block's largest, or 2^-8 of a bfloat16, in one of
 *             the hundred products of a result, which is at most 1e-3 of the largest one
 *
 * A product's rows must also have the same bits whatever the number of rows is.
 */
// biome-ignore format: a list
import {
  type Activations, attentionHalf, bestLogits, type Cache, type CacheFormat, cachedAttention, copyCache, createCache,
  expertsProduct, feedForward, type Packed, packedProduct, packedRows, packWeight, quantize, ropeFrequencies,
  ropeTables, rowBytes, type WeightFormat,
} from '@fourfold/ops';
import { keyOf, normals, read } from '@fourfold/runtime';
import { hostInts } from '@fourfold/runtime/shapes';
import { stockKernels } from '@fourfold/runtime/tensorflow';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { relative, sameBits, worstOf } from './difference.ts';

const FLOAT32 = 4e-6;
const FLIPPED = 2e-3;
const FORMATS: readonly WeightFormat[] = ['f32', 'bf16', 'q40', 'q41', 'q80'];

/** Keeps what tf.tidy doesn't free until the case has run. */
type Keep = <X extends { dispose(): void }>(x: X) => X;

export interface PackedCase {
  readonly name: string;
  readonly bound: number;
  readonly run: (keep: Keep) => Tensor[];
}

// ## What cases are made of

const draw = (name: string, size: number, std = 1): Float32Array => normals(keyOf(9, name), 0, size, std);

/** The first rows of nine: the same ones whatever N is. */
const rowsOf = (name: string, N: number, columns: number): Tensor =>
  tf.tensor(draw(name, 9 * columns).subarray(0, N * columns), [N, columns]);

const gainOf = (D: number): Tensor => tf.tensor1d(draw('gain', D));

function weightOf(format: WeightFormat, rows: number, columns: number, matrices = 1): Packed {
  const numbers = matrices * rows * columns;
  const padded = new Float32Array(Math.ceil(numbers / 32) * 32);
  padded.set(draw(`w ${rows} ${columns}`, numbers, 0.1));
  return packWeight(format, rows, columns, quantize(format, padded).slice(0, rowBytes(format, numbers)), matrices);
}

const isInBlocks = (format: WeightFormat): boolean => format !== 'f32' && format !== 'bf16';

/** Rows at these slots and positions. */
const places = (...pairs: readonly [slot: number, position: number][]): Tensor =>
  hostInts(Int32Array.from(pairs.flat()), [pairs.length, 2]);

// ## Cases

type Kind = 'plain' | 'norm' | 'swiglu' | 'onto';

/** 37 rows of w end inside a panel; 65 blocks of columns are shared by more threads than 3. */
const product =
  (format: WeightFormat, activations: Activations, kind: Kind, I: number, N: number) =>
  (keep: Keep): Tensor[] => {
    const [O, w] = [37, keep(weightOf(format, 37, I))];
    const norm = kind === 'norm' ? { gain_I: gainOf(I), epsilon: 1e-5 } : undefined;
    const x = rowsOf('x', N, kind === 'swiglu' ? 2 * I : I);
    const onto_NO = kind === 'onto' ? rowsOf('onto', N, O) : undefined;
    return [packedProduct(x, w, { activations, norm, swiglu: kind === 'swiglu', onto_NO })];
  };

const activationsOf = (format: WeightFormat): Activations[] => (isInBlocks(format) ? ['float32', 'q80'] : ['float32']);

const productCases = (): PackedCase[] =>
  FORMATS.flatMap((format) =>
    activationsOf(format).flatMap((activations) =>
      (['plain', 'norm', 'swiglu', 'onto'] as const).flatMap((kind) =>
        [isInBlocks(format) ? 96 : 77, 2080].map((I) => ({
          name: `${format} product, ${activations}, ${kind}, ${I} columns`,
          bound: activations === 'q80' && (kind === 'norm' || kind === 'swiglu') ? FLIPPED : FLOAT32,
          run: product(format, activations, kind, I, 9),
        })),
      ),
    ),
  );

const rowCases = (): PackedCase[] =>
  FORMATS.map((format) => ({
    name: `rows of ${format}`,
    bound: 2 ** -23, // d · q + m may be rounded once or twice
    run: (keep) => [packedRows(keep(weightOf(format, 37, 96)), hostInts(Int32Array.of(36, 0, 17, 17), [4]))],
  }));

interface AttentionCase {
  readonly K: number;
  readonly qk?: boolean;
  readonly window?: number;
  readonly softcap?: number;
}

/** Prompts of two slots, a copy of one of them to a third, and a row of each. 4 heads on 2. */
const attention =
  (format: CacheFormat, { K, qk = false, window, softcap }: AttentionCase) =>
  (keep: Keep): Tensor[] => {
    const [H, G, P] = [4, 2, 48];
    const cache = keep(createCache({ slots: 3, positions: P, kvHeads: G, headDim: K, format }));
    const tables = ropeTables(
      Int32Array.from({ length: P }, (_, i) => i),
      ropeFrequencies(K, 100),
    );
    const gains = { q_K: tf.tensor1d(draw('q', K)), k_K: tf.tensor1d(draw('k', K)), epsilon: 1e-6 };
    const options = { heads: H, tables, scale: K ** -0.5, qkNorm: qk ? gains : undefined, window, softcap };
    const prompt: [number, number][] = Array.from({ length: 40 }, (_, i) => [0, i]);
    const rows = [...prompt, ...([[1, 0], [1, 1]] as [number, number][])]; // biome-ignore format: pairs
    const qkv = (name: string, N: number): Tensor => tf.tensor(draw(name, N * (H + 2 * G) * K), [N, (H + 2 * G) * K]);
    const first = cachedAttention(qkv('prompt', rows.length), cache, places(...rows), options);
    copyCache(cache, 0, 2, 33);
    return [first, cachedAttention(qkv('next', 3), cache, places([0, 40], [1, 2], [2, 33]), options)];
  };

const attentionCases = (): PackedCase[] =>
  (['f32', 'bf16', 'q80'] as const).flatMap((format) =>
    [{ K: 64 }, { K: 128, qk: true }, { K: 32, window: 5 }, { K: 96, softcap: 2 }].map((one) => ({
      name: `attention over ${format}, ${JSON.stringify(one).replace(/[{}"]/g, '')}`,
      bound: format === 'f32' ? FLOAT32 : FLIPPED,
      run: attention(format, one),
    })),
  );

/** 7 rows through 2 of 6 experts, of which experts 2 to 5 are here. */
const expertCases = (): PackedCase[] =>
  FORMATS.flatMap((format) =>
    activationsOf(format).map((activations, i) => ({
      name: `experts of ${format}, ${activations}`,
      bound: activations === 'q80' ? FLIPPED : FLOAT32,
      run: (keep) => {
        const weights = { up_E2FD: keep(weightOf(format, 192, 64, 4)), down_EDF: keep(weightOf(format, 64, 96, 4)) };
        const [x_ND, logits_NE] = [rowsOf('x', 7, 64), rowsOf('router', 7, 6)];
        const norm = { gain_I: gainOf(64), epsilon: 1e-5 };
        const options = { activations, norm, onto_ND: x_ND, active: 2, normalized: i === 0, gelu: i === 1, first: 2 };
        return [expertsProduct(x_ND, logits_NE, weights, options)];
      },
    })),
  );

/** Few words with equals among them, and as many as Llama 3 has. */
const logitCases = (): PackedCase[] =>
  ([[50, 50], [128_256, 40]] as const).map(([V, k]) => ({
    name: `the best ${k} of ${V} logits`,
    bound: 1e-6,
    run: () => {
      const logits = draw('logits', 2 * V, 3).map((x) => Math.round(x * (V > 50 ? 4096 : 1)) / 4096);
      const { ids_NK, values_NK, logSumExp_N } = bestLogits(tf.tensor(logits, [2, V]), k);
      return [ids_NK, values_NK, logSumExp_N];
    },
  })); // biome-ignore format: pairs

/** Two layers of 4 heads on 2: a prompt of 7 rows, then 4 rows one by one. */
const decoder =
  (format: WeightFormat, activations: Activations, cacheFormat: CacheFormat) =>
  (keep: Keep): Tensor[] => {
    const [D, H, G, K, F, V] = [128, 4, 2, 32, 192, 300];
    const layers = [0, 1].map(() => ({
      attention: { qkv_JD: keep(weightOf(format, (H + 2 * G) * K, D)), out_DH: keep(weightOf(format, D, H * K)) },
      ffn: { up_2FD: keep(weightOf(format, 2 * F, D)), down_DF: keep(weightOf(format, D, F)) },
      cache: keep<Cache>(createCache({ slots: 1, positions: 16, kvHeads: G, headDim: K, format: cacheFormat })),
    }));
    const words = keep(weightOf(format, V, D));
    const norm = { gain_I: gainOf(D), epsilon: 1e-5 };
    const tables = ropeTables(
      Int32Array.from({ length: 16 }, (_, i) => i),
      ropeFrequencies(K, 100),
    );
    const step = (positions: readonly number[]): Tensor => {
      const rows = places(...positions.map((position): [number, number] => [0, position]));
      let x_ND = packedRows(
        words,
        hostInts(
          Int32Array.from(positions, (p) => (p * 41) % V),
          [positions.length],
        ),
      );
      for (const { attention: weights, ffn, cache } of layers) {
        const options = { activations, norm, heads: H, tables, scale: K ** -0.5 };
        x_ND = attentionHalf(x_ND, weights, cache, rows, { ...options, onto_ND: x_ND });
        x_ND = feedForward(x_ND, ffn, { activations, norm, onto_ND: x_ND });
      }
      return packedProduct(x_ND, words, { activations, norm });
    };
    return [[0, 1, 2, 3, 4, 5, 6], [7], [8], [9], [10]].map(step);
  };

/**
 * Rounded activations of two layers: what a flipped one changes is rounded again, and flips others. 8e-3 was seen on a
 * processor; what is computed wrongly differs by tenths.
 */
const decoderCases = (): PackedCase[] => [
  { name: 'decoder of q40, float32, cache f32', bound: 1e-5, run: decoder('q40', 'float32', 'f32') },
  { name: 'decoder of q40, q80, cache q80', bound: 3e-2, run: decoder('q40', 'q80', 'q80') },
  { name: 'decoder of q41, q80, cache bf16', bound: 3e-2, run: decoder('q41', 'q80', 'bf16') },
];

// ## Comparing

async function numbersOf(run: PackedCase['run']): Promise<Float32Array[]> {
  const kept: { dispose(): void }[] = [];
  const ys = tf.tidy(() =>
    run((x) => {
      kept.push(x);
      return x;
    }),
  );
  const numbers = await Promise.all(ys.map(async (y) => Float32Array.from(await read(y))));
  tf.dispose(ys);
  for (const x of kept) x.dispose();
  return numbers;
}

/** Prints a line, and returns whether the case holds: near the stock kernels, and the same bits each time. */
export async function checkCase({ name, bound, run }: PackedCase, print: (line: string) => void): Promise<boolean> {
  const stock = await stockKernels(() => numbersOf(run));
  const ours = await numbersOf(run);
  const same = sameBits(ours, await numbersOf(run));
  const error = worstOf(ours, stock, relative);
  const good = same && error <= bound;
  const figures = `${error.toExponential(1)} (${bound.toExponential(0)})${same ? '' : ', other bits!'}`;
  print(`${good ? 'ok  ' : 'FAIL'} ${name.padEnd(48)} ${figures}`);
  return good;
}

/** Whether the rows of a product of 9 are those of products of 1 to 8, to the bit. */
async function rowsAlone(format: WeightFormat, print: (line: string) => void): Promise<boolean> {
  const activations: Activations = isInBlocks(format) ? 'q80' : 'float32';
  const all = (await numbersOf(product(format, activations, 'norm', 2080, 9)))[0] as Float32Array;
  let good = true;
  for (let N = 1; N < 9; N++) {
    const fewer = await numbersOf(product(format, activations, 'norm', 2080, N));
    good &&= sameBits(fewer, [all.slice(0, N * 37)]);
  }
  print(`${good ? 'ok  ' : 'FAIL'} ${format} product: a row's bits whatever the number of rows`);
  return good;
}

/** Checks the device in use; prints a line a case. Returns what holds. */
export async function checkPacked(print: (line: string) => void): Promise<boolean[]> {
  print('\ninference: largest difference from stock kernels (bound)');
  const results: boolean[] = [];
  const cases = [productCases, rowCases, attentionCases, expertCases, logitCases, decoderCases];
  for (const one of cases.flatMap((make) => make())) results.push(await checkCase(one, print));
  for (const format of FORMATS) results.push(await rowsAlone(format, print));
  return results;
}
