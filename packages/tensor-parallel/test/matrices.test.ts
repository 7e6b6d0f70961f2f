import { kernels, type Layer, linear } from '@fourfold/ops';
import { type ProcessGroup, spmd } from '@fourfold/process-group';
import { onBackends, useBackend } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { columnParallel, rowParallel } from '../src/tensor-parallel.ts';
import { callsOf, dispose, type EdgeName, edges, expectPart, onRanks, parameter, part, randn } from './helpers.ts';

// 12 tokens, a model of 10, and the group's 3 ranks: nothing is a power of two.
const [N, D, RANKS] = [12, 10, 3];

/** A layer forward and backward, then once more with its pullback dropped; and the calls that a rank has made. */
async function run(group: ProcessGroup, layer: Layer, x: Tensor, dy: Tensor) {
  const [[y, pull], forward] = await callsOf(group, () => layer(x));
  const [dx, backward] = await callsOf(group, () => pull(dy));
  const [again, dropped] = await layer(x);
  dropped.drop();
  again.dispose();
  return { y, dx, calls: { forward, backward } };
}

const QKV: [string, number][] = [
  ['q', 6 * RANKS],
  ['k', RANKS],
  ['v', RANKS],
];

/** x [N, all outputs] of q, k and v, in three. */
function outputsOf(x: Tensor, ranks: number): Tensor[] {
  const counts = QKV.map(([, outputs]) => outputs / ranks);
  return tf.split(x, counts, 1);
}

async function checkColumnParallel(group: ProcessGroup, name: EdgeName) {
  const { edgeOf, stream } = edges[name];
  const whole = QKV.map(([key, outputs]) => parameter(key, [outputs, D]));
  const own = QKV.map(([key, outputs]) => parameter(key, [outputs, D], 0, group));
  const x = randn('x', [N, D]);
  const dys = QKV.map(([key, outputs]) => randn(`dy of ${key}`, [N, outputs]));
  const dy = kernels.concat(dys, 1);
  const [y, pull] = await linear(...whole)(x);
  const dx = await pull(dy);
  const ownX = part(x, stream, group.rank, RANKS);
  const mine = (one: Tensor) => part(one, 1, group.rank, RANKS);
  const ownDy = tf.tidy(() => kernels.concat(dys.map(mine), 1));
  const found = await run(group, columnParallel(edgeOf(group), ...own), ownX, ownDy);
  const [ys, foundYs] = [outputsOf(y, 1), outputsOf(found.y, RANKS)];
  for (const [i, one] of ys.entries()) {
    await expectPart(foundYs[i], one, 1, group, `y ${i}`);
    await expectPart(own[i]?.grad, whole[i]?.grad as Tensor, 0, group, `dw ${i}`);
  }
  await expectPart(found.dx, dx, stream, group, 'dx');
  dispose([...whole, ...own]);
  tf.dispose([x, ownX, dx, found.dx, dy, ...dys, y, ...ys, ...foundYs, ownDy, found.y]);
  return found.calls;
}

async function checkRowParallel(group: ProcessGroup, name: EdgeName) {
  const { edgeOf, stream } = edges[name];
  const inputs = 2 * RANKS;
  const [whole, own] = [parameter('w', [D, inputs]), parameter('w', [D, inputs], 1, group)];
  const [x, dy] = [randn('x', [N, inputs]), randn('dy', [N, D])];
  const [y, pull] = await linear(whole)(x);
  const dx = await pull(dy);
  const [ownX, ownDy] = [part(x, 1, group.rank, RANKS), part(dy, stream, group.rank, RANKS)];
  const found = await run(group, rowParallel(edgeOf(group), own), ownX, ownDy);
  await expectPart(found.y, y, stream, group, 'y');
  await expectPart(found.dx, dx, 1, group, 'dx');
  await expectPart(own.grad, whole.grad as Tensor, 1, group, 'dw');
  dispose([whole, own]);
  tf.dispose([x, dy, y, dx, ownX, ownDy, found.y, found.dx]);
  return found.calls;
}

onBackends(() => {
  test('q, k and v are one linear, and one all-reduce in backward serves all three', async () => {
    const calls = await onRanks(RANKS, (group) => checkColumnParallel(group, 'replicated'));
    expect(calls).toEqual({ forward: {}, backward: { allReduce: 1 } });
  });

  test('so they are of tokens that ranks share out: these are gathered, and gathered again in backward', async () => {
    const calls = await onRanks(RANKS, (group) => checkColumnParallel(group, 'sequenceSplit'));
    expect(calls).toEqual({ forward: { allGather: 1 }, backward: { allGather: 1, reduceScatter: 1 } });
  });

  test('rowParallel is linear, with one all-reduce in forward', async () => {
    const calls = await onRanks(RANKS, (group) => checkRowParallel(group, 'replicated'));
    expect(calls).toEqual({ forward: { allReduce: 1 }, backward: {} });
  });

  test('and with tokens shared out a reduce-scatter, whose gradients are gathered', async () => {
    const calls = await onRanks(RANKS, (group) => checkRowParallel(group, 'sequenceSplit'));
    expect(calls).toEqual({ forward: { reduceScatter: 1 }, backward: { allGather: 1 } });
  });
});

const edgeNames = Object.keys(edges) as EdgeName[];
test.each(edgeNames)('gradients of weights are computed while the sum of dx is on its way (%s)', async (name) => {
  await useBackend('cpu');
  const events = await spmd(2, async (group) => {
    const events: string[] = [];
    const { edgeOf, stream } = edges[name];
    const edge = edgeOf(group);
    /** Comes to its end long after the group's own, as on a slow network. */
    const sum = async (x: Tensor) => {
      events.push('sum starts');
      const total = await edge.sum(x);
      await new Promise((resolve) => setTimeout(resolve, 20));
      events.push('sum ends');
      return total;
    };
    const weights = ['gate', 'up'].map((key) => parameter(key, [4, D], 0, group));
    for (const w of weights) w.onAccumulate = () => events.push(w.name);
    const x = part(randn('x', [N, D]), stream, group.rank, 2);
    const [, pull] = await columnParallel({ ...edge, sum }, ...weights)(x);
    await pull(randn('dy', [N, 4]));
    return events;
  });
  for (const own of events) expect(own).toEqual(['sum starts', 'gate', 'up', 'sum ends']);
});
