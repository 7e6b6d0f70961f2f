/**
 * What models that are split over ranks have of their own, for bench:gpu-check, which runs it on one GPU: the ranks of
 * a group one after the other, and what they would send from one to the other by hand.
 */
// biome-ignore format: a list
import {
  addAt, embedding, kernels, type Layer, logitGradient, logitStatistics, mergeAttention, Parameter, pullback,
} from '@fourfold/ops';
import { cast } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { Case } from './gpu-check.ts';

type Tuples = Layer<readonly Tensor[], readonly Tensor[]>;

/** N ids below V, of which some come often. */
const ids = (N: number, V: number): Tensor => {
  const numbers = Int32Array.from({ length: N }, (_, n) => (n * n) % V);
  return tf.tensor1d(numbers, 'int32');
};

/** The loss of logits whose words two ranks share out: each rank's losses, and the gradient by all. dy isn't used. */
const splitLoss: Tuples = async ([logits]) => {
  const [C, V] = [logits?.shape[0] as number, (logits?.shape[1] as number) / 2];
  const { losses, dlogits } = tf.tidy(() => {
    const targets = ids(C, 2 * V);
    const parts = [0, V].map((first) => kernels.slice(logits as Tensor, 1, first, V));
    const statistics = parts.map((part, r) => logitStatistics(part, targets, r * V));
    const stats = kernels.concat(statistics, 0);
    const options = { gradients: true, weight: 1 / C };
    const found = parts.map((part, r) => logitGradient(part, targets, stats, { first: r * V, ...options }));
    const gradients = found.map(({ dlogits_CV }) => dlogits_CV as Tensor);
    return { losses: found.map(({ losses_C }) => losses_C), dlogits: kernels.concat(gradients, 1) };
  });
  return [losses, pullback([], () => [dlogits])];
};

/** The rows of a table that is the second half of a vocabulary: 0 for words of the first one. */
const laterRows =
  (w_VD: Parameter, N: number): Tuples =>
  async () => {
    const [V, D] = w_VD.shape as [number, number];
    const part = Object.assign(new Parameter('part', [2 * V, D]), { shard: { axis: 0, index: 1, of: 2 } });
    part.value = kernels.share(w_VD.value);
    const tokens = ids(N, 2 * V);
    const [x, pull] = await embedding(part)(tokens);
    const backward = async ([dx]: readonly Tensor[]) => {
      await pull(dx as Tensor);
      w_VD.accumulate(kernels.share(part.grad as Tensor));
      part.dispose();
      return [];
    };
    return [[x], pullback([tokens], backward)];
  };

/** A whole in float32, of its own memory. */
const wide = (x: Tensor): Tensor => tf.tidy(() => kernels.add(cast(x, 'float32'), tf.scalar(0)));

/** What a ring does with a block of keys that queries `start` and on see: the whole, [o, lse], with its part merged. */
const mergedAttention =
  (start: number): Tuples =>
  async (inputs) => {
    const [o, lse, part, partLse] = inputs as [Tensor, Tensor, Tensor, Tensor];
    const merged = mergeAttention([wide(o), wide(lse)], [kernels.share(part), wide(partLse)], start);
    return [merged, pullback([], () => [])];
  };

/** The same with what the block adds to a gradient. */
const addedAt =
  (start: number): Tuples =>
  async (inputs) => {
    const [sum, part] = inputs as [Tensor, Tensor];
    return [[addAt(wide(sum), kernels.share(part), start)], pullback([], () => [])];
  };

/** Q of T queries. What is merged and added are numbers that bfloat16 holds, and sums are float32: no rounding more. */
function ringCases([T, Q, H, K]: readonly [number, number, number, number]): Case[] {
  const [whole, part] = [T, Q].map((length) => [2, length, H, K]) as [number[], number[]];
  const [lse, partLse] = [T, Q].map((length) => [2, H, length]) as [number[], number[]];
  const bounds = { float32: 1e-6, bfloat16: 1e-6 };
  const name = `${part} at ${T - Q} of ${T}`;
  return [
    { name: `merge ${name}`, inputs: [whole, lse, part, partLse], layer: () => mergedAttention(T - Q), ...bounds },
    { name: `add ${name}`, inputs: [whole, part], layer: () => addedAt(T - Q), ...bounds },
  ];
}

export const PARALLEL_CASES: readonly Case[] = [
  ...[1003, 4096].map((V) => ({
    name: `loss of 2 ranks, V ${V} each`,
    inputs: [[150, 2 * V]],
    layer: () => splitLoss,
    float32: 2e-6,
    bfloat16: 2 ** -8,
  })),
  {
    name: 'embedding, the second half of V 1000',
    inputs: [],
    weights: [[500, 96]],
    layer: ([w]) => laterRows(w as Parameter, 3000),
    float32: 1e-6,
    bfloat16: 2 ** -8,
  },
  ...ringCases([64, 32, 8, 64]),
  ...ringCases([33, 33, 3, 18]),
];
