/**
 * The fused ops against the same equations in float64, in plain TypeScript: over odd shapes, so that every loop ends in
 * the middle of a vector of 8; at the ends of the exponential's range; with NaN; and with 1, 2 and 4 threads.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { keyOf, normals, read } from '@fourfold/runtime';
import { expectNoLeak, useBackend } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import * as fused from '../src/fused.ts';
import { ropeFrequencies, ropeTables } from '../src/index.ts';

beforeAll(() => useBackend('cpu'));

/**
 * In 400 shapes of each test the worst was 7e-7, for a dw: 64 rows summed one after the other in float32; all else is
 * within 2.3e-7, about four roundings.
 */
const TOLERANCE = 1e-6;

/** An input: its values in float32, and its shape. */
interface Input {
  readonly values: Float32Array;
  readonly shape: number[];
}
type Values = ArrayLike<number>;

const size = (shape: readonly number[]): number => shape.reduce((product, side) => product * side, 1);
const random = (name: string, shape: number[], std = 1): Input => ({
  values: normals(keyOf(1, `${name} ${shape}`), 0, size(shape), std),
  shape,
});
const at = (values: Values, i: number): number => values[i] as number;
/** A float64 array of this length whose element i is f(i). */
const fill = (length: number, f: (i: number) => number): Float64Array => Float64Array.from({ length }, (_, i) => f(i));
const sumOf = (length: number, f: (i: number) => number): number => fill(length, f).reduce((sum, x) => sum + x, 0);

/** Runs `op` on tensors of these inputs and reads what it gives; frees all, and finds anything left over. */
async function run(op: (...inputs: Tensor[]) => Tensor | Tensor[], ...inputs: Input[]): Promise<Values[]> {
  return expectNoLeak(async () => {
    const tensors = inputs.map(({ values, shape }) => tf.tensor(values, shape, 'float32'));
    const results = [op(...(tensors as [Tensor]))].flat();
    const values = await Promise.all(results.map(read));
    tf.dispose([...tensors, ...results]);
    return values;
  });
}

/**
 * Fails unless no element is further off than TOLERANCE of the largest of `sizes`. Those are the expected values, save
 * where numbers that are added up may nearly cancel: then `sizes` tells how large such numbers are.
 */
function expectValues(actual: Values[], expected: Values[], sizes = expected): void {
  const errors = expected.map((values, i) => {
    const scale = largest(sizes[i] as Values);
    return largest(fill(values.length, (j) => at(actual[i] as Values, j) - at(values, j))) / (scale || 1);
  });
  expect(actual.map((values) => values.length)).toEqual(expected.map((values) => values.length));
  for (const error of errors) expect(error, `errors ${errors}`).toBeLessThanOrEqual(TOLERANCE); // NaN fails too
}
const largest = (values: Values): number => Math.max(...Array.from(values, Math.abs));

const side = fc.integer({ min: 1, max: 70 });
const RUNS = { numRuns: 30 };

// ## RMSNorm

const EPSILON = 1e-5;

/** [y, r, dx, dw] for dy, and their sizes: dx is a difference, and dw a sum that may be near 0. */
function rmsNormInFloat64({ values: x, shape }: Input, w: Values, dy: Values): [Values[], Values[]] {
  const [N, D] = shape as [number, number];
  const r = fill(N, (n) => 1 / Math.sqrt(sumOf(D, (d) => at(x, n * D + d) ** 2) / D + EPSILON));
  const xHat = fill(N * D, (i) => at(x, i) * at(r, Math.floor(i / D)));
  const g = fill(N * D, (i) => at(dy, i) * at(w, i % D));
  const along = fill(N, (n) => sumOf(D, (d) => at(g, n * D + d) * at(xHat, n * D + d)) / D);
  const y = fill(N * D, (i) => at(xHat, i) * at(w, i % D));
  const dx = fill(N * D, (i) => at(r, Math.floor(i / D)) * (at(g, i) - at(xHat, i) * at(along, Math.floor(i / D))));
  const dw = fill(D, (d) => sumOf(N, (n) => at(dy, n * D + d) * at(xHat, n * D + d)));
  const dwSize = fill(D, (d) => Math.sqrt(sumOf(N, (n) => (at(dy, n * D + d) * at(xHat, n * D + d)) ** 2)));
  return [
    [y, r, dx, dw],
    [y, r, fill(N * D, (i) => at(r, Math.floor(i / D)) * at(g, i)), dwSize],
  ];
}

const rmsNormAndGrad = (x: Tensor, w: Tensor, dy: Tensor): Tensor[] => {
  const [y, r] = fused.rmsNorm(x, w, EPSILON);
  return [y, r, ...fused.rmsNormGrad(dy, x, w, r)];
};

test('rmsNorm and its gradients are those of float64', async () => {
  // from 65 rows on, dw is a sum of two blocks of rows or more
  const rows = fc.integer({ min: 1, max: 200 });
  const check = async (N: number, D: number) => {
    const [x, w, dy] = [random('x', [N, D]), random('w', [D]), random('dy', [N, D])];
    expectValues(await run(rmsNormAndGrad, x, w, dy), ...rmsNormInFloat64(x, w.values, dy.values));
  };
  await fc.assert(fc.asyncProperty(rows, side, check), RUNS);
});

test('the gradient of a weight by no rows at all is 0', async () => {
  const none = { values: new Float32Array(0), shape: [0, 5] };
  const [y, r, dx, dw] = await run(rmsNormAndGrad, none, random('w', [5]), none);
  expect([y, r, dx].map((values) => values?.length)).toEqual([0, 0, 0]);
  expect(Array.from(dw as Values)).toEqual([0, 0, 0, 0, 0]);
});

// ## SwiGLU

/** [y, dgate, dup]. */
function swigluInFloat64(gate: Values, up: Values, dy: Values): Values[] {
  const s = fill(gate.length, (i) => 1 / (1 + Math.exp(-at(gate, i))));
  const y = fill(gate.length, (i) => at(gate, i) * at(s, i) * at(up, i));
  const slope = fill(gate.length, (i) => at(s, i) + at(gate, i) * at(s, i) * (1 - at(s, i)));
  const dgate = fill(gate.length, (i) => at(dy, i) * at(up, i) * at(slope, i));
  return [y, dgate, fill(gate.length, (i) => at(dy, i) * at(gate, i) * at(s, i))];
}

const swigluAndGrad = (gate: Tensor, up: Tensor, dy: Tensor): Tensor[] => [
  fused.swiglu(gate, up),
  ...fused.swigluGrad(dy, gate, up),
];

test('swiglu and its gradients are those of float64, also for gates from -80 to 80', async () => {
  const check = async (N: number, F: number, std: number) => {
    const [gate, up, dy] = [random('gate', [N, F], std), random('up', [N, F]), random('dy', [N, F])];
    gate.values.set(gate.values.map((x) => Math.max(-80, Math.min(80, x))));
    expectValues(await run(swigluAndGrad, gate, up, dy), swigluInFloat64(gate.values, up.values, dy.values));
  };
  await fc.assert(fc.asyncProperty(side, side, fc.constantFrom(1, 10, 80), check), RUNS);
});

test('each exponential from -80 to 80 is right by itself, not only against the largest', async () => {
  const gate = { values: Float32Array.from({ length: 1601 }, (_, i) => (i - 800) / 10), shape: [1601] };
  const ones = { values: new Float32Array(1601).fill(1), shape: [1601] };
  const [y] = await run(fused.swiglu, gate, ones);
  const expected = swigluInFloat64(gate.values, ones.values, ones.values)[0] as Values;
  for (let i = 0; i < 1601; i++) expectValues([[at(y as Values, i)]], [[at(expected, i)]]);
});

// ## RoPE

/** y = x · cos + swap(x) · sin, and turned back by -sin. */
function ropeInFloat64({ values: x, shape }: Input, cos: Values, sin: Values, sign: number): Values {
  const [T, K] = shape.slice(-2) as [number, number];
  return fill(x.length, (i) => {
    const partner = i % K < K / 2 ? i + K / 2 : i - K / 2;
    return at(x, i) * at(cos, i % (T * K)) + at(x, partner) * sign * at(sin, i % (T * K));
  });
}

test('rope is that of float64 in both directions', async () => {
  const half = fc.integer({ min: 1, max: 35 });
  const heads = fc.integer({ min: 1, max: 4 });
  const check = async (H: number, T: number, half: number, inverse: boolean) => {
    const K = 2 * half;
    const [x, cos, sin] = [random('x', [2, H, T, K]), random('cos', [T, K]), random('sin', [T, K])];
    const y = await run((x, cos, sin) => fused.rope(x as Tensor, cos as Tensor, sin as Tensor, inverse), x, cos, sin);
    expectValues(y, [ropeInFloat64(x, cos.values, sin.values, inverse ? -1 : 1)]);
  };
  await fc.assert(fc.asyncProperty(heads, side, half, fc.boolean(), check), RUNS);
});

test('turning back undoes turning', async () => {
  const check = async (T: number, half: number) => {
    const { cos_TK, sin_TK } = ropeTables(
      Array.from({ length: T }, (_, t) => t),
      ropeFrequencies(2 * half, 10_000),
    );
    const x = random('x', [3, T, 2 * half]);
    const thereAndBack = (x: Tensor) =>
      tf.tidy(() => fused.rope(fused.rope(x, cos_TK, sin_TK, false), cos_TK, sin_TK, true));
    expectValues(await run(thereAndBack, x), [x.values]);
    tf.dispose([cos_TK, sin_TK]);
  };
  await fc.assert(fc.asyncProperty(side, fc.integer({ min: 1, max: 35 }), check), RUNS);
});

// ## Causal softmax

/** [p, ds], where row i of the t sees the first start + i + 1 of the s keys, and their sizes: ds is a difference. */
function causalSoftmaxInFloat64({ values, shape }: Input, dp: Values, start: number): [Values[], Values[]] {
  const [M, t, s] = shape as [number, number, number];
  const [p, ds] = [new Float64Array(values.length), new Float64Array(values.length)];
  for (let row = 0; row < M * t; row++) {
    const seen = Math.min(s, start + (row % t) + 1);
    const scores = values.subarray(row * s, row * s + seen);
    const most = Math.max(...scores);
    const sum = sumOf(seen, (j) => Math.exp(at(scores, j) - most));
    p.set(
      fill(seen, (j) => Math.exp(at(scores, j) - most) / sum),
      row * s,
    );
    const along = sumOf(seen, (j) => at(p, row * s + j) * at(dp, row * s + j));
    ds.set(
      fill(seen, (j) => at(p, row * s + j) * (at(dp, row * s + j) - along)),
      row * s,
    );
  }
  return [
    [p, ds],
    [p, fill(p.length, (i) => at(p, i) * at(dp, i))],
  ];
}

const softmaxAndGrad =
  (start: number) =>
  (scores: Tensor, dp: Tensor): Tensor[] => {
    const p = fused.causalSoftmax(scores, start);
    return [p, fused.causalSoftmaxGrad(p, dp, start)];
  };

test('causalSoftmax and its gradient are those of float64 for any tile, also for scores of 80', async () => {
  const check = async (M: number, t: number, start: number, beyond: number, std: number) => {
    const scores = random('scores', [M, t, Math.max(start + 1, start + t - beyond)], std);
    const dp = random('dp', scores.shape);
    expectValues(await run(softmaxAndGrad(start), scores, dp), ...causalSoftmaxInFloat64(scores, dp.values, start));
  };
  const [heads, start] = [fc.integer({ min: 1, max: 4 }), fc.integer({ min: 0, max: 40 })];
  // `beyond` takes keys away, so that the last rows would see more than there are
  const beyond = fc.integer({ min: -3, max: 3 });
  await fc.assert(fc.asyncProperty(heads, side, start, beyond, fc.constantFrom(1, 80), check), RUNS);
});

test('a row that sees one key gives it all, and what no row sees is 0 whatever stands there', async () => {
  const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
  const scores = { values: Float32Array.of(-80, nan, inf, 80, 80, nan), shape: [1, 2, 3] };
  const dp = { values: Float32Array.of(3, nan, inf, 1, 2, nan), shape: [1, 2, 3] };
  const [p, ds] = await run(softmaxAndGrad(0), scores, dp);
  expect(Array.from(p as Values)).toEqual([1, 0, 0, 0.5, 0.5, 0]);
  expect(Array.from(ds as Values)).toEqual([0, 0, 0, -0.25, 0.25, 0]);
});

test('a key with a score of -∞ gets next to nothing', async () => {
  const scores = { values: Float32Array.of(Number.NEGATIVE_INFINITY, 1, 1), shape: [1, 1, 3] };
  const [p] = await run((x) => fused.causalSoftmax(x, 2), scores);
  expect(at(p as Values, 0)).toBeLessThan(1e-37);
  expect(Array.from(p as Values).slice(1)).toEqual([0.5, 0.5]);
});

// ## What is not a number

/** The places of NaN among 4 rows of 11, of which 2 belong to a head. */
const SHAPE = [2, 2, 11];
const withNaN = (name: string, place: number): Input => {
  const input = random(name, [4, 11]);
  input.values[place] = Number.NaN;
  return input;
};
const placesOfNaN = (values?: Values): number[] =>
  Array.from(values ?? []).flatMap((x, i) => (Number.isNaN(x) ? [i] : []));
const range = (first: number, last: number) => Array.from({ length: last - first }, (_, i) => first + i);

test('NaN stays NaN, in its own row only', async () => {
  const ones = { values: new Float32Array(11).fill(1), shape: [11] };
  for (const place of [11, 15, 20]) {
    const x = withNaN('x', place); // in row 1, by the vector of 8 or the rest of 3
    const [dy, row] = [random('dy', [4, 11]), range(11, 22)];
    const normed = await run(rmsNormAndGrad, x, ones, dy);
    expect(normed.map(placesOfNaN)).toEqual([row, [1], row, range(0, 11)]);
    expect((await run(swigluAndGrad, x, dy, dy)).map(placesOfNaN)).toEqual([[place], [place], [place]]);
    const scores = { ...x, shape: SHAPE };
    const p = await run(softmaxAndGrad(9), scores, { ...dy, shape: SHAPE });
    expect(p.map(placesOfNaN)).toEqual([row, row]);
  }
});

// ## Threads

/** The hashes of all outputs, from a process with so many threads. */
async function hashesWith(threads: number): Promise<string[]> {
  const child = fileURLToPath(new URL('fused-child.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', child, String(threads)]);
  return JSON.parse(stdout);
}

test('1, 2 and 4 threads give the same bits', async () => {
  const [one, ...more] = await Promise.all([1, 2, 4].map(hashesWith));
  expect(one).toHaveLength(11);
  for (const hashes of more) expect(hashes).toEqual(one);
});
