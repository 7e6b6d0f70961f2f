import { createLlama, forward, freePlace, type LlamaConfig, MODELS, placeOf, type Recompute } from '@fourfold/model';
import { type ProcessGroup, spmd } from '@fourfold/process-group';
import { type DType, openBackend } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { tensorParallelBytes } from '../src/tensor-parallel.ts';
import { callsOf, dispose, lossOf, modelOf, onRanks, randn } from './helpers.ts';

beforeAll(async () => void (await openBackend({ device: 'cpu' })));

const nano: LlamaConfig = { ...(MODELS['nano'] as LlamaConfig), vocabulary: 48 };

/** A rank's calls in two blocks, without embedding and loss. */
async function callsOfBlocks(group: ProcessGroup, sequenceParallel: boolean, recompute: Recompute = 'none') {
  const model = await modelOf({ config: nano, recompute }, group, sequenceParallel);
  const place = placeOf(model, 2, 8);
  const x = randn('x', [sequenceParallel ? 16 / group.size : 16, nano.dim]);
  const body = { ...model, embed: undefined, norm: undefined };
  const [[y, pull], onward] = await callsOf(group, () => forward(body, x, place));
  const [dx, backward] = await callsOf(group, () => pull(y));
  freePlace(place);
  dispose(model.parameters);
  tf.dispose([x, y, dx as tf.Tensor]);
  return { forward: onward, backward };
}

test('a block is two all-reduces forward and two backward', async () => {
  const calls = await onRanks(2, (group) => callsOfBlocks(group, false));
  expect(calls).toEqual({ forward: { allReduce: 4 }, backward: { allReduce: 4 } });
});

test('recomputation runs the first of forward once more: nobody needs what the second one gives', async () => {
  const calls = await onRanks(2, (group) => callsOfBlocks(group, false, 'block'));
  expect(calls).toEqual({ forward: { allReduce: 4 }, backward: { allReduce: 6 } });
});

test('so it does sequence parallel: two gathers once more, and one reduce-scatter', async () => {
  const calls = await onRanks(2, (group) => callsOfBlocks(group, true, 'block'));
  expect(calls.forward).toEqual({ allGather: 4, reduceScatter: 4 });
  expect(calls.backward).toEqual({ allGather: 8 + 4, reduceScatter: 4 + 2 });
});

test('sequence parallel, each is a reduce-scatter and a gather, and backward gathers two inputs again', async () => {
  const calls = await onRanks(2, (group) => callsOfBlocks(group, true));
  expect(calls.forward).toEqual({ allGather: 4, reduceScatter: 4 });
  expect(calls.backward).toEqual({ allGather: 8, reduceScatter: 4 });
});

interface Case {
  readonly tp: number;
  readonly config?: Partial<LlamaConfig>;
  readonly B?: number;
  readonly T?: number;
  readonly dtype?: DType;
  readonly recompute?: Recompute;
}

/** What each rank has sent for a micro-batch, and what the formula says. */
async function bytesOf(it: Case, sequenceParallel: boolean): Promise<{ counted: number; formula: number }[]> {
  const { tp, B = 2, T = 8, dtype = 'float32', recompute = 'none' } = it;
  const config = { ...nano, ...it.config };
  return expectNoLeak(() =>
    spmd(tp, async (group) => {
      const model = await modelOf({ config, dtype, recompute }, group, sequenceParallel);
      await lossOf(model, { config, B, T });
      const counted = group.recorder.totals().reduce((sum, { bytes }) => sum + bytes, 0);
      dispose(model.parameters);
      return { counted, formula: tensorParallelBytes(group, model, B * T, sequenceParallel) };
    }),
  );
}

/**
 * [N, D] all-reduces a layer, embedding and loss of one micro-batch, 2 (n-1)/n of its bytes each; the half of one is a
 * gather, or a scatter. And three float32 a token that the loss gathers from n - 1 others.
 */
const expectedBytes = (n: number, bytesOfElement: number, layer: number, N = 16, { layers, dim } = nano): number =>
  ((2 * (n - 1)) / n) * (layers * layer + 1 + 1) * N * dim * bytesOfElement + (n - 1) * 3 * 4 * N;

describe.each([2, 4])('bytes that a rank of %i sends', (tp) => {
  const both = (bytes: number) => Array.from({ length: tp }, () => ({ counted: bytes, formula: bytes }));

  test('two all-reduces forward, two backward', async () => {
    expect(await bytesOf({ tp }, false)).toEqual(both(expectedBytes(tp, 4, 4)));
  });

  test('sequence parallel: as many, and two gathers in backward', async () => {
    expect(await bytesOf({ tp }, true)).toEqual(both(expectedBytes(tp, 4, 5)));
  });

  test('recomputed: forward twice, the second time without its last sum', async () => {
    expect(await bytesOf({ tp, recompute: 'block' }, false)).toEqual(both(expectedBytes(tp, 4, 5)));
    expect(await bytesOf({ tp, recompute: 'block' }, true)).toEqual(both(expectedBytes(tp, 4, 6.5)));
  });

  test('selective: what is run again exchanges nothing', async () => {
    expect(await bytesOf({ tp, recompute: 'selective' }, false)).toEqual(both(expectedBytes(tp, 4, 4)));
    expect(await bytesOf({ tp, recompute: 'selective' }, true)).toEqual(both(expectedBytes(tp, 4, 5)));
  });

  test('bfloat16: activations of half the bytes, statistics of the loss in float32', async () => {
    expect(await bytesOf({ tp, dtype: 'bfloat16' }, false)).toEqual(both(expectedBytes(tp, 2, 4)));
    expect(await bytesOf({ tp, dtype: 'bfloat16' }, true)).toEqual(both(expectedBytes(tp, 2, 5)));
  });
});

test.each([false, true])('one rank sends nothing (sequence parallel: %s)', async (sequenceParallel) => {
  expect(await bytesOf({ tp: 1 }, sequenceParallel)).toEqual([{ counted: 0, formula: 0 }]);
});

const three: Partial<LlamaConfig> = { heads: 6, kvHeads: 3, headDim: 4, dim: 23 };

test('where 3 ranks do not divide the elements, ranks send not quite the same, and the formula knows', async () => {
  const ranks = await bytesOf({ tp: 3, config: three, B: 1, T: 7 }, false);
  for (const { counted, formula } of ranks) expect(counted).toBe(formula);
  expect(new Set(ranks.map(({ counted }) => counted)).size).toBeGreaterThan(1);
});

// All-reduces go in slices of 4 MB, of which 3 ranks have uneven parts; gathers and scatters go whole.
test.each([false, true])('so it does of 6 MB at once (sequence parallel: %s)', async (sequenceParallel) => {
  const config = { layers: 1, heads: 3, kvHeads: 3, headDim: 2, dim: 4096, ffn: 3, vocabulary: 6 };
  const ranks = await bytesOf({ tp: 3, config, B: 8, T: 48 }, sequenceParallel);
  for (const { counted, formula } of ranks) expect(counted).toBe(formula);
});

test('a stage in the middle has neither embedding nor loss', async () => {
  const middle = { ...createLlama({ ...nano, layers: 3, dim: 64 }), embed: undefined, loss: undefined };
  const [bytes] = await spmd(2, async (group) => tensorParallelBytes(group, middle, 16, false));
  expect(bytes).toBe(3 * 4 * 16 * 64 * 4);
});
