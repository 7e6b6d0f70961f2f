import { crossEntropy, embedding, type Loss, Parameter } from '@fourfold/ops';
import { type ProcessGroup, spmd } from '@fourfold/process-group';
import { memory, read, resetPeak } from '@fourfold/runtime';
import { onBackends, useBackend } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { replicated, vocabularyEmbedding, vocabularyLoss } from '../src/tensor-parallel.ts';
import {
  callsOf,
  dispose,
  type EdgeName,
  edges,
  expectClose,
  expectPart,
  FLOAT32,
  integers,
  numberOf,
  onRanks,
  parameter,
  part,
  randn,
} from './helpers.ts';

// 12 tokens, a model of 10, the group's 3 ranks, and 7 words for each.
const [N, D, RANKS] = [12, 10, 3];
const V = 7 * RANKS;

async function checkEmbedding(group: ProcessGroup, name: EdgeName, ids: Tensor) {
  const { edgeOf, stream } = edges[name];
  const [whole, own] = [parameter('table', [V, D]), parameter('table', [V, D], 0, group)];
  const dx = randn('dx', [N, D]);
  const [x, pull] = await embedding(whole)(ids);
  await pull(dx);
  const ownDx = part(dx, stream, group.rank, RANKS);
  const layer = vocabularyEmbedding(edgeOf(group), own);
  const [[y, pullOwn], forward] = await callsOf(group, () => layer(ids));
  const [, backward] = await callsOf(group, () => pullOwn(ownDx));
  await expectPart(y, x, stream, group, 'x');
  await expectPart(own.grad, whole.grad as Tensor, 0, group, 'dtable');
  const [again, dropped] = await layer(ids);
  dropped.drop();
  dispose([whole, own]);
  tf.dispose([dx, x, ownDx, y, again]);
  return { forward, backward };
}

interface LossCase {
  readonly targets: Tensor;
  /** Of x. */
  readonly std?: number;
  readonly chunkBytes?: number;
  readonly tolerance?: number;
}

/** The loss, and the gradient of half of it. */
async function lossAndPull(loss: Loss, x: Tensor, targets: Tensor): Promise<{ value: Tensor; dx: Tensor }> {
  const [value, pull] = await loss(x, targets, { weight: 0.5 });
  return { value, dx: await pull() };
}

async function checkLoss(group: ProcessGroup, name: EdgeName, it: LossCase) {
  const { targets, std = 1, chunkBytes, tolerance = FLOAT32 } = it;
  const { edgeOf, stream } = edges[name];
  const [whole, own] = [parameter('head', [V, D]), parameter('head', [V, D], 0, group)];
  const x = randn('x', [N, D], std);
  const ownX = part(x, stream, group.rank, RANKS);
  const expected = await lossAndPull(crossEntropy(whole, { chunkBytes }), x, targets);
  const loss = vocabularyLoss(group, edgeOf(group), own, chunkBytes);
  const [[value, pull], without] = await callsOf(group, () => loss(ownX, targets, { gradients: false }));
  const [found, calls] = await callsOf(group, () => lossAndPull(loss, ownX, targets));
  await expectClose(found.value, expected.value, 'loss', tolerance);
  expect(await read(value)).toEqual(await read(found.value));
  await expectPart(found.dx, expected.dx, stream, group, 'dx', tolerance);
  await expectPart(own.grad, whole.grad as Tensor, 0, group, 'dw', tolerance);
  const bits = Array.from(await read(found.value));
  const [again, dropped] = await loss(ownX, targets);
  for (const unused of [pull, dropped]) unused.drop();
  dispose([whole, own]);
  tf.dispose([x, ownX, expected.value, expected.dx, value, found.value, found.dx, again]);
  return { bits, without, calls };
}

/** Words of every rank, or of one rank alone. */
const WORDS: [string, (shape: number[]) => Tensor][] = [
  ['of all ranks', (shape) => integers('words', shape, V)],
  ['of the first rank', (shape) => tf.zeros(shape, 'int32')],
  ['of the last rank', (shape) => tf.fill(shape, V - 1, 'int32')],
];

onBackends(() => {
  describe.each(WORDS)('words %s', (_, wordsOf) => {
    test('vocabularyEmbedding is embedding', async () => {
      const ids = wordsOf([2, N / 2]);
      const plain = await onRanks(RANKS, (group) => checkEmbedding(group, 'replicated', ids));
      expect(plain).toEqual({ forward: { allReduce: 1 }, backward: {} });
      const split = await onRanks(RANKS, (group) => checkEmbedding(group, 'sequenceSplit', ids));
      expect(split).toEqual({ forward: { reduceScatter: 1 }, backward: { allGather: 1 } });
      ids.dispose();
    });

    test('vocabularyLoss is crossEntropy, the same bits on all ranks; without gradients it gathers once', async () => {
      const targets = wordsOf([2, N / 2]);
      const plain = await onRanks(RANKS, (group) => checkLoss(group, 'replicated', { targets }));
      expect(plain).toMatchObject({ without: { allGather: 1 }, calls: { allGather: 1, allReduce: 1 } }); // dx's sum
      const split = await onRanks(RANKS, (group) => checkLoss(group, 'sequenceSplit', { targets }));
      expect(split).toMatchObject({ without: { allGather: 2 }, calls: { allGather: 2, reduceScatter: 1 } }); // x
      targets.dispose();
    });

    test('so it is in chunks of a token or two', async () => {
      const targets = wordsOf([N]);
      const chunks = (chunkBytes: number) =>
        onRanks(RANKS, (group) => checkLoss(group, 'sequenceSplit', { targets, chunkBytes }));
      expect((await chunks(1)).without).toEqual({ allGather: 1 + N });
      expect((await chunks(2 * 4 * (V / RANKS))).without).toEqual({ allGather: 1 + N / 2 });
      targets.dispose();
    });

    // exp of more than 88 is no float32. A logit near 1000 is rounded by up to 2^-15, and so is the log of p.
    test('and with logits of hundreds', async () => {
      const targets = wordsOf([N]);
      const it = { targets, std: 400 / Math.sqrt(D), tolerance: 2 * 2 ** -15 };
      await onRanks(RANKS, (group) => checkLoss(group, 'replicated', it));
      targets.dispose();
    });
  });
});

test('logits of 400 and -400, on both sides of the split', async () => {
  await useBackend('cpu');
  const losses = await onRanks(2, async (group) => {
    const head = Object.assign(new Parameter('head', [4, 1]), { shard: { axis: 0, index: group.rank, of: 2 } });
    head.value = tf.tensor2d([[400], [-400]]);
    const [x, loss] = [tf.ones([1, 1]), vocabularyLoss(group, replicated(group), head)];
    const lossAt = async (word: number) => {
      const target = tf.tensor1d([word], 'int32');
      const [value, pull] = await loss(x, target);
      pull.drop();
      target.dispose();
      return numberOf(value);
    };
    const values = [await lossAt(0), await lossAt(1), await lossAt(2), await lossAt(3)];
    dispose([head]);
    x.dispose();
    return values;
  });
  // Words 0 and 2 have half of the probability each, 1 and 3 have e^-800 of that.
  const [likely, unlikely] = [Math.log(2), 800 + Math.log(2)];
  for (const [i, expected] of [likely, unlikely, likely, unlikely].entries())
    expect(losses[i]).toBeCloseTo(expected, 4);
});

test('the loss never holds the logits of all tokens, even of its own words alone', async () => {
  await useBackend('cpu');
  const [tokens, words] = [512, 1024];
  const chunkBytes = 8 * 4 * (words / 2); // of 8 tokens
  const before = memory().bytes;
  resetPeak();
  await spmd(2, async (group) => {
    const head = parameter('head', [words, 4], 0, group);
    const [x, targets] = [randn('x', [tokens, 4]), integers('targets', [tokens], words)];
    const [value, pull] = await vocabularyLoss(group, replicated(group), head, chunkBytes)(x, targets);
    pull.drop();
    dispose([head]);
    tf.dispose([x, targets, value]);
  });
  const ownLogits = tokens * (words / 2) * 4;
  expect(memory().peakBytes - before).toBeLessThan(ownLogits / 2); // of both ranks together
});
