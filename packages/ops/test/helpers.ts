/**
 * How every operation is tested, on TensorFlow ('cpu') and on wasm, in one process.
 *
 * `checkLayer` holds a layer against a plain reference written with tf.* functions:
 *
 *   y, dx, dw        against the reference and its tf.grads
 *   dx, dw           at a few random places against central differences of the layer's own forward
 *   tensors, bytes   back to where they were, whether the pullback is called or dropped
 *
 * Inputs are normal random numbers, named, so that every test sees the same ones on every backend.
 */
import { cast, type DType, dtypeOf, keyOf, normals, randomWords, read } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import { kernels, type Layer, Parameter } from '../src/index.ts';

// ## Random inputs

/** Normal numbers; the same for the same name and shape. */
export const randn = (name: string, shape: number[], std = 1): Tensor =>
  tf.tensor(normals(keyOf(1, `${name} ${shape}`), 0, size(shape), std), shape, 'float32');

/** A parameter of normal numbers. */
export const parameter = (name: string, shape: number[], std = 1): Parameter =>
  Parameter.of(name, randn(name, shape, std));

/** `count` integers below `below`, as a plain array. */
export const integers = (name: string, count: number, below: number): number[] =>
  Array.from(randomWords(keyOf(1, name), 0, count), (word) => word % below);

const size = (shape: readonly number[]): number => shape.reduce((product, side) => product * side, 1);

/** Of attention: B sequences, G key and value heads, R query heads for each, T queries, S keys, K dimensions. */
export interface AttentionShape {
  readonly B: number;
  readonly G: number;
  readonly R: number;
  readonly T: number;
  readonly S: number;
  readonly K: number;
}

// ## Comparing

/** The largest difference, as a part of the largest element of `expected`. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  let [difference, largest] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    const gap = Math.abs((actual[i] as number) - (expected[i] as number));
    difference = Math.max(difference, Number.isNaN(gap) ? Number.POSITIVE_INFINITY : gap);
    largest = Math.max(largest, Math.abs(expected[i] as number));
  }
  return difference === 0 ? 0 : difference / largest;
}

/** Fails unless the shapes are equal and no element is further off than `tolerance` of the largest. */
export async function expectClose(actual: Tensor, expected: Tensor, tolerance: number, what: string): Promise<void> {
  expect(actual.shape, what).toEqual(expected.shape);
  const error = relativeError(await read(actual), await read(expected));
  expect(error, `${what}, shape [${actual.shape}]`).toBeLessThanOrEqual(tolerance);
}

// ## Checking a layer

export interface Check {
  readonly layer: Layer<readonly Tensor[]>;
  /** The inputs by which the layer has a gradient. checkLayer frees them, and the parameters. */
  readonly inputs: Tensor[];
  readonly parameters?: Parameter[];
  /** The same function, in tf.* functions that tf.grads can differentiate. */
  readonly reference: (inputs: Tensor[], weights: Tensor[]) => Tensor;
}

/** A layer of one tensor as a layer of a tuple of one. */
export const single =
  (layer: Layer): Layer<readonly Tensor[]> =>
  async ([x]) => {
    const [y, pull] = await layer(x as Tensor);
    const backward = async (dy: Tensor) => [await pull(dy)];
    return [y, Object.assign(backward, { drop: pull.drop })];
  };

/** A layer of one tensor as a layer of several, which lie beside one another along `axis` in it. */
export const beside =
  (layer: Layer, axis: number): Layer<readonly Tensor[]> =>
  async (inputs) => {
    const x = kernels.concat([...inputs], axis);
    const [y, pull] = await layer(x);
    x.dispose();
    const backward = async (dy: Tensor) => {
      const dx = await pull(dy);
      const parts = cutLike(dx, inputs, axis);
      dx.dispose();
      return parts;
    };
    return [y, Object.assign(backward, { drop: pull.drop })];
  };

/** x in parts as long along `axis` as `likes` are. */
export function cutLike(x: Tensor, likes: readonly Tensor[], axis: number): Tensor[] {
  let end = 0;
  return likes.map(({ shape }) => {
    const length = shape[axis] as number;
    end += length;
    return kernels.slice(x, axis, end - length, length);
  });
}

/**
 * float32 rounds each result by up to 2^-24 = 6e-8 of itself. Layer and reference add up the same numbers in another
 * order, so they differ by some such roundings: in 500 of the shapes that each test draws from by up to 7e-7, and in
 * attention, where dP and D nearly cancel, by up to 3e-6 (of 1,500 shapes in the worst, with K = 2, layer and reference
 * are 1.8e-6 and 1.3e-6 from float64; in nearly all below 1e-6).
 */
export const FLOAT32 = 4e-6;

/** Checks all that the head of this file lists. */
export async function checkLayer(check: Check): Promise<void> {
  await expectNoLeak(() => compare(check));
  await expectNoLeak(async () => {
    const [y, pull] = await check.layer(check.inputs);
    pull.drop();
    y.dispose();
  });
  tf.dispose(check.inputs);
  for (const p of check.parameters ?? []) p.dispose();
}

async function compare(check: Check): Promise<void> {
  const { inputs, parameters = [], reference } = check;
  const { y, dy, gradients } = await runLayer(check);
  const args = [...inputs, ...parameters.map((p) => p.value)];
  const call = (...xs: Tensor[]) => reference(xs.slice(0, inputs.length), xs.slice(inputs.length));
  const expectedY = tf.tidy(() => call(...args));
  const expected = tf.tidy(() => tf.grads(call)(args, dy));
  await expectClose(y, expectedY, FLOAT32, 'y');
  for (const [i, gradient] of gradients.entries()) {
    await expectClose(gradient, expected[i] as Tensor, FLOAT32, `gradient ${i}`);
    await checkDifferences(check, i, gradient, dy);
  }
  tf.dispose([y, dy, expectedY, ...expected, ...gradients]);
}

/**
 * Forward, and backward of a random dy, rounded to `precision`: the gradients are those of the inputs, then those of
 * the parameters. The caller owns all.
 */
async function runLayer({ layer, inputs, parameters = [] }: Omit<Check, 'reference'>, precision: DType = 'float32') {
  const [y, pull] = await layer(inputs);
  const dy = tf.tidy(() => cast(cast(randn('dy', y.shape), precision), dtypeOf(y)));
  const dxs = await pull(dy);
  return { y, dy, gradients: [...dxs, ...parameters.map(takeGradient)] };
}

function takeGradient(p: Parameter): Tensor {
  const { grad } = p;
  if (!grad) throw new Error(`${p.name} got no gradient`);
  p.grad = undefined;
  return grad;
}

// ## Central differences

const PLACES = 3;
/** [steps, factor] of f(x + steps · h) in the formula below. */
// biome-ignore format: one line
const STENCIL = [[-2, 1], [-1, -8], [1, 8], [2, -1]] as const;
const H = 2 ** -5;
/** Beside the roundings of y: O(h⁴), and what a layer rounds inside. The worst that was seen is 4e-5. */
const DIFFERENCES = 1e-4;

/**
 * Moves one element of argument i (an input, or a parameter's weight) up and down and looks how far Σ y · dy goes:
 *
 *   (8 (f(x + h) - f(x - h)) - (f(x + 2h) - f(x - 2h))) / 12h = f'(x) + O(h⁴)
 *
 * O(h⁴) is h⁴ f⁽⁵⁾ / 30 = 3e-8 f⁽⁵⁾. Each y that moves was rounded four times, by up to 2^-23 |y| where it is a sum:
 * together 2^-23 |y · dy| · 18 / 12h, which for the sum of a thousand elements is more than all else.
 */
async function checkDifferences(check: Check, i: number, gradient: Tensor, dy: Tensor): Promise<void> {
  const { inputs, parameters = [] } = check;
  const original = inputs[i] ?? (parameters[i - inputs.length] as Parameter).value;
  const values = await original.data();
  const slopes = Array.from(await gradient.data());
  const weights = await dy.data();
  const largest = Math.max(...slopes.map(Math.abs));
  for (const place of integers(`places ${i} ${original.shape}`, PLACES, values.length)) {
    let [slope, rounding] = [0, 0];
    const before = await forwardWith(check, i, original.clone());
    for (const [steps, factor] of STENCIL) {
      const moved = Float32Array.from(values);
      moved[place] = (values[place] as number) + steps * H;
      const after = await forwardWith(check, i, tf.tensor(moved, original.shape));
      for (const [j, y] of after.entries()) {
        if (y === before[j]) continue;
        slope += (factor * (y - (before[j] as number)) * (weights[j] as number)) / (12 * H);
        rounding += (Math.abs(factor * y * (weights[j] as number)) * 2 ** -23) / (12 * H);
      }
    }
    const error = Math.abs(slope - (slopes[place] as number));
    const allowed = DIFFERENCES * largest + rounding;
    expect(error, `central difference of argument ${i} at ${place}: ${slope}`).toBeLessThanOrEqual(allowed);
  }
}

/** The layer's value with `moved`, which this frees, in place of argument i. */
async function forwardWith({ layer, inputs, parameters = [] }: Check, i: number, moved: Tensor) {
  const changed = parameters[i - inputs.length];
  const original = changed?.value;
  if (changed) changed.value = moved;
  const [y, pull] = await layer(inputs.map((x, j) => (j === i ? moved : x)));
  if (changed && original) changed.value = original;
  pull.drop();
  const values = Array.from(await y.data());
  tf.dispose([y, moved]);
  return values;
}

// ## bfloat16

export interface Bfloat16Check {
  /** The layer with these weights, and other tensors that it needs in this dtype. */
  readonly layer: (weights: Parameter[], dtype: DType) => Layer<readonly Tensor[]>;
  readonly inputs: Tensor[];
  readonly weights?: Tensor[];
  /** How far y and the gradients may be from float32's, in parts of the largest element. */
  readonly tolerance: number;
}

/** bfloat16 has 8 bits: rounding once changes a number by at most 2^-8 = 0.4% of itself. */
export const BFLOAT16 = 2 ** -8;

/**
 * Runs a layer in bfloat16, and in float32 on the very same (rounded) numbers: y and the gradients by the inputs must
 * be bfloat16, those by the weights float32, all close to float32's. Frees inputs and weights.
 */
export async function checkBfloat16({ layer, inputs, weights = [], tolerance }: Bfloat16Check): Promise<void> {
  const rounded = [...inputs, ...weights].map((x) => cast(x, 'bfloat16'));
  tf.dispose([...inputs, ...weights]);
  const run = async (dtype: DType) => {
    const values = rounded.map((x) => cast(x, dtype));
    const parameters = values.slice(inputs.length).map((value, i) => Parameter.of(`w${i}`, value));
    const xs = values.slice(0, inputs.length);
    const result = await runLayer({ layer: layer(parameters, dtype), inputs: xs, parameters }, 'bfloat16');
    tf.dispose([...values, result.dy]);
    return result;
  };
  await expectNoLeak(async () => {
    const [narrow, wide] = [await run('bfloat16'), await run('float32')];
    const dtypes = [...inputs.map(() => 'bfloat16'), ...weights.map(() => 'float32')];
    expect(dtypeOf(narrow.y)).toBe('bfloat16');
    expect(narrow.gradients.map(dtypeOf)).toEqual(dtypes);
    await expectClose(narrow.y, wide.y, tolerance, 'y');
    for (const [i, gradient] of narrow.gradients.entries())
      await expectClose(gradient, wide.gradients[i] as Tensor, tolerance, `gradient ${i}`);
    tf.dispose([narrow.y, wide.y, ...narrow.gradients, ...wide.gradients]);
  });
  tf.dispose(rounded);
}
