/**
 * The fused ops but attention's (fused-attention.test.ts) against the same equations in float64, in plain TypeScript:
 * over odd shapes, so that every loop ends in the middle of a vector of 8; at the ends of the exponential's range; with
 * NaN; and all of them with 1, 2 and 4 threads.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { useBackend } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import * as fused from '../src/fused.ts';
import { ropeFrequencies, ropeTables } from '../src/index.ts';
import { at, expectValues, fill, type Input, placesOfNaN, random, range, run, sumOf, type Values } from './float64.ts';

beforeAll(() => useBackend('cpu'));

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

test('onto another gradient, dx is the sum of the two, and dw is the same', async () => {
  const [x, w, dy, base] = [random('x', [70, 11]), random('w', [11]), random('dy', [70, 11]), random('base', [70, 11])];
  const [, r, dx, dw] = (await run(rmsNormAndGrad, x, w, dy)) as [Values, Float32Array, Values, Values];
  const lengths = { values: r, shape: [70] };
  const onto = await run(
    (...xs) => fused.rmsNormGrad(...(xs as Parameters<typeof fused.rmsNormGrad>)),
    dy,
    x,
    w,
    lengths,
    base,
  );
  expectValues(onto, [fill(dx.length, (i) => at(dx, i) + at(base.values, i)), dw]);
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

const swigluAndGrad = (gate: Tensor, up: Tensor, dy: Tensor): Tensor[] =>
  tf.tidy(() => {
    const x = tf.concat([gate, up], 1);
    return [fused.swiglu(x), ...tf.split(fused.swigluGrad(dy, x), 2, 1)];
  });

test('swiglu and its gradients are those of float64, also for gates from -80 to 80', async () => {
  const check = async (N: number, F: number, std: number) => {
    const [gate, up, dy] = [random('gate', [N, F], std), random('up', [N, F]), random('dy', [N, F])];
    gate.values.set(gate.values.map((x) => Math.max(-80, Math.min(80, x))));
    expectValues(await run(swigluAndGrad, gate, up, dy), swigluInFloat64(gate.values, up.values, dy.values));
  };
  await fc.assert(fc.asyncProperty(side, side, fc.constantFrom(1, 10, 80), check), RUNS);
});

test('each exponential from -80 to 80 is right by itself, not only against the largest', async () => {
  const gate = Float32Array.from({ length: 1601 }, (_, i) => (i - 800) / 10);
  const ones = new Float32Array(1601).fill(1);
  const [y] = await run(fused.swiglu, { values: Float32Array.of(...gate, ...ones), shape: [1, 2 * 1601] });
  const expected = swigluInFloat64(gate, ones, ones)[0] as Values;
  for (let i = 0; i < 1601; i++) expectValues([[at(y as Values, i)]], [[at(expected, i)]]);
});

// ## RoPE

/** y = x · cos + swap(x) · sin, and turned back by -sin. */
function ropeInFloat64({ values: x, shape }: Input, cos: Values, sin: Values, sign: number): Values {
  const [, T, H, K] = shape as [number, number, number, number];
  return fill(x.length, (i) => {
    const partner = i % K < K / 2 ? i + K / 2 : i - K / 2;
    const place = (Math.floor(i / (H * K)) % T) * K + (i % K); // in the tables
    return at(x, i) * at(cos, place) + at(x, partner) * sign * at(sin, place);
  });
}

test('rope is that of float64 in both directions, on the heads that are to turn', async () => {
  const half = fc.integer({ min: 1, max: 35 });
  const others = fc.integer({ min: 0, max: 4 });
  const check = async (turned: number, others: number, T: number, half: number, inverse: boolean) => {
    const [J, K] = [turned + others, 2 * half];
    const x = random('x', [2, T, J, K]);
    const [cos, sin] = [random('cos', [T, K]), random('sin', [T, K])];
    const op = (...xs: Tensor[]) => fused.rope(...(xs as [Tensor, Tensor, Tensor]), { turned, inverse });
    const all = ropeInFloat64(x, cos.values, sin.values, inverse ? -1 : 1);
    const expected = fill(x.values.length, (i) => at(Math.floor(i / K) % J < turned ? all : x.values, i));
    expectValues(await run(op, x, cos, sin), [expected]);
  };
  await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 4 }), others, side, half, fc.boolean(), check), RUNS);
});

test('turning back undoes turning', async () => {
  const check = async (T: number, half: number) => {
    const { cos_TK, sin_TK } = ropeTables(
      Array.from({ length: T }, (_, t) => t),
      ropeFrequencies(2 * half, 10_000),
    );
    const x = random('x', [2, T, 4, 2 * half]);
    const thereAndBack = (x: Tensor) =>
      tf.tidy(() => {
        const there = fused.rope(x, cos_TK, sin_TK, { turned: 3, inverse: false });
        return fused.rope(there, cos_TK, sin_TK, { turned: 3, inverse: true, inPlace: true });
      });
    expectValues(await run(thereAndBack, x), [x.values]);
    tf.dispose([cos_TK, sin_TK]);
  };
  await fc.assert(fc.asyncProperty(side, fc.integer({ min: 1, max: 35 }), check), RUNS);
});

// ## What is not a number

/** 4 rows of 11, with NaN at one place. */
const withNaN = (name: string, place: number): Input => {
  const input = random(name, [4, 11]);
  input.values[place] = Number.NaN;
  return input;
};

test('NaN stays NaN, in its own row only', async () => {
  const ones = { values: new Float32Array(11).fill(1), shape: [11] };
  for (const place of [11, 15, 20]) {
    const x = withNaN('x', place); // in row 1, by the vector of 8 or the rest of 3
    const [dy, row] = [random('dy', [4, 11]), range(11, 22)];
    const normed = await run(rmsNormAndGrad, x, ones, dy);
    expect(normed.map(placesOfNaN)).toEqual([row, [1], row, range(0, 11)]);
    expect((await run(swigluAndGrad, x, dy, dy)).map(placesOfNaN)).toEqual([[place], [place], [place]]);
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
  expect(one).toHaveLength(28);
  for (const hashes of more) expect(hashes).toEqual(one);
});
