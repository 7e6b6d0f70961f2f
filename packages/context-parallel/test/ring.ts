/** A ring of ranks on random numbers, and the same on one rank. */
import { causalAttention, headsOf, kernels, type Layer } from '@fourfold/ops';
import { type ProcessGroup, spmd } from '@fourfold/process-group';
import { cast, type DType, dtypeOf, keyOf, normals, read } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import { type Order, positionsOf, ringAttention } from '../src/context-parallel.ts';

/**
 * Ranks add up the same numbers as one rank, in another order, so each sum differs by some float32 roundings of 6e-8;
 * relative to the largest element. The gradients of whole models are promised as close.
 */
export const FLOAT32 = 2e-6;

/** Sequences, kv heads, query heads for each, ranks, tokens of half a rank (a chunk in zigzag order), dimensions. */
export interface Shape {
  readonly B: number;
  readonly G: number;
  readonly R: number;
  readonly cp: number;
  readonly chunk: number;
  readonly K: number;
}

export type Inputs = [q: Tensor, k: Tensor, v: Tensor, dO: Tensor];

/** Normal numbers; the same for the same name and shape. */
export const randn = (name: string, shape: number[]): Tensor =>
  tf.tensor(normals(keyOf(1, name), 0, tf.util.sizeFromShape(shape), 1), shape);

export const inputsOf = ({ B, G, R, cp, chunk, K }: Shape): Inputs => [
  randn('q', [B, 2 * cp * chunk, G * R, K]),
  randn('k', [B, 2 * cp * chunk, G, K]),
  randn('v', [B, 2 * cp * chunk, G, K]),
  randn('dO', [B, 2 * cp * chunk, G * R, K]),
];

/** The given places of x along `axis`. */
export const at = (x: Tensor, places: Iterable<number>, axis: number): Tensor =>
  tf.tidy(() => tf.gather(x, tf.tensor1d([...places], 'int32'), axis));

/** [o, dq, dk, dv] by a layer that takes q, k and v as heads of one tensor. */
async function attended(layer: Layer, [q, k, v, dO]: Inputs): Promise<Tensor[]> {
  const qkv = kernels.concat([q, k, v], 2);
  const [o, pull] = await layer(qkv);
  const dqkv = await pull(dO);
  const gradients = headsOf(dqkv, k.shape[2] as number);
  tf.dispose([qkv, dqkv]);
  return [o, ...gradients];
}

/** [o, dq, dk, dv] of all tokens on one rank. */
export const onOneRank = (inputs: Inputs): Promise<Tensor[]> =>
  attended(causalAttention({ kvHeads: inputs[1].shape[2] as number }), inputs);

/** [o, dq, dk, dv] of this rank's tokens, computed in `dtype`, widened. */
export async function onThisRank(cp: ProcessGroup, order: Order, inputs: Inputs, dtype: DType): Promise<Tensor[]> {
  const positions = positionsOf(inputs[0].shape[1] as number, cp.size, cp.rank, order);
  const mine = inputs.map((x) => tf.tidy(() => cast(at(x, positions, 1), dtype))) as Inputs;
  const results = await attended(ringAttention(cp, { kvHeads: mine[1].shape[2] as number, order }), mine);
  expect(results.map(dtypeOf)).toEqual(results.map(() => dtype));
  const wide = results.map((x) => cast(x, 'float32'));
  tf.dispose([...mine, ...results]);
  return wide;
}

/** [o, dq, dk, dv] of `cp` ranks, put together in the order of their positions. */
export async function onRing(cp: number, order: Order, inputs: Inputs, dtype: DType = 'float32'): Promise<Tensor[]> {
  const T = inputs[0].shape[1] as number;
  const results = await spmd(cp, (group) => onThisRank(group, order, inputs, dtype));
  const held = results.flatMap((_, rank) => [...positionsOf(T, cp, rank, order)]);
  const places = held.map((_, position) => held.indexOf(position));
  const joined = inputs.map((_, i) =>
    tf.tidy(() => at(tf.concat(results.map((of) => of[i]) as tf.Tensor4D[], 1), places, 1)),
  );
  tf.dispose(results);
  return joined;
}

export async function expectClose(actual: Tensor, expected: Tensor, tolerance: number, what: string): Promise<void> {
  expect(actual.shape, what).toEqual(expected.shape);
  const [a, b] = [Array.from(await read(actual)), Array.from(await read(expected))];
  const largest = Math.max(...b.map(Math.abs));
  const error = Math.max(...a.map((x, i) => Math.abs(x - (b[i] as number))));
  expect(error / largest, what).toBeLessThanOrEqual(tolerance); // NaN is not
}
