import { cast, dtypeOf, memory, resetPeak } from '@fourfold/runtime';
import { expectNoLeak, onBackends, useBackend } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type AttentionBlockOptions,
  attentionBlock,
  attentionBlockGradients,
  causalAttention,
  kernels,
} from '../src/index.ts';
import { type AttentionShape, BFLOAT16, beside, expectClose, FLOAT32, randn } from './helpers.ts';

const upTo = (max: number) => fc.integer({ min: 1, max });
const shapes = fc.record({ B: upTo(3), G: upTo(2), R: upTo(3), T: upTo(40), S: upTo(40), K: fc.constantFrom(2, 4, 6) });
/** At most 16 queries in a tile: the smallest there is. */
const SMALL_TILES = { tileBytes: 1 };
const tiles = fc.constantFrom({}, SMALL_TILES);

type Inputs = [q: Tensor, k: Tensor, v: Tensor, dO: Tensor];

const inputsOf = ({ B, G, R, T, S, K }: AttentionShape): Inputs => [
  randn('q', [B, T, G * R, K]),
  randn('k', [B, S, G, K]),
  randn('v', [B, S, G, K]),
  randn('do', [B, T, G * R, K]),
];

// ## The textbook: each head's own keys and values, all scores at once, those of the future far below 0

/** [B, T, H, K] to [B, H, T, K], or back. */
const headsFirst = (x: Tensor): Tensor => tf.transpose(x, [0, 2, 1, 3]);

/** [B, S, G, K] to [B, H, S, K]. */
const repeated = (x: Tensor, { B, G, R, S, K }: AttentionShape): Tensor =>
  tf.reshape(tf.mul(tf.reshape(headsFirst(x), [B * G, 1, S * K]), tf.ones([1, R, 1])), [B, G * R, S, K]);

function plainScores(shape: AttentionShape, q: Tensor, k: Tensor, causal: boolean): Tensor {
  const scores = tf.div(tf.matMul(headsFirst(q), repeated(k, shape), false, true), Math.sqrt(shape.K));
  const future = tf.sub(1, tf.linalg.bandPart(tf.ones([shape.T, shape.S]), -1, 0));
  return causal ? tf.sub(scores, tf.mul(future, 1e9)) : scores;
}

/** [o, lse, dq, dk, dv] */
function plainAttention(shape: AttentionShape, [q, k, v, dO]: Inputs, causal: boolean): Tensor[] {
  const attention = (q: Tensor, k: Tensor, v: Tensor) =>
    headsFirst(tf.matMul(tf.softmax(plainScores(shape, q, k, causal)), repeated(v, shape)));
  const lse = tf.logSumExp(plainScores(shape, q, k, causal), 3);
  return [attention(q, k, v), lse, ...tf.grads(attention)([q, k, v], dO)];
}

// ## Blocks

const NAMES = ['o', 'lse', 'dq', 'dk', 'dv'];

/** [o, lse, dq, dk, dv] of one block that is all there is. */
const oneBlock = (inputs: Inputs, options: AttentionBlockOptions): Tensor[] => severalBlocks(inputs, [], options);

/** The same of blocks between which the keys are cut at the places `cuts`. */
function severalBlocks([q, k, v, dO]: Inputs, cuts: number[], options: AttentionBlockOptions): Tensor[] {
  return tf.tidy(() => {
    const edges = [0, ...cuts, k.shape[1] as number];
    const parts = edges.slice(1).map((end, i) => {
      const [start, length] = [edges[i] as number, end - (edges[i] as number)];
      const keys = (x: Tensor) => tf.slice(x, [0, start, 0, 0], [-1, length, -1, -1]);
      return length === k.shape[1] ? ([k, v] as const) : ([keys(k), keys(v)] as const);
    });
    const blocks = parts.map(([k, v]) => attentionBlock(q, k, v, options));
    const lse = tf.logSumExp(tf.stack(blocks.map((block) => block[1])), 0);
    const weighted = blocks.map((block) => {
      const weight_BTH1 = tf.expandDims(tf.transpose(tf.exp(tf.sub(block[1], lse)), [0, 2, 1]), 3);
      return tf.mul(cast(block[0], 'float32'), weight_BTH1);
    });
    const whole = { q, o: cast(tf.addN(weighted), dtypeOf(q)), lse, dO };
    const gradients = parts.map(([k, v]) => attentionBlockGradients({ ...whole, k, v }, options));
    const [dq, ...dkdv] = [0, 1, 2].map((i) => gradients.map((of) => of[i] as Tensor)) as [
      Tensor[],
      Tensor[],
      Tensor[],
    ];
    const sum = dq.length === 1 ? (dq[0] as Tensor) : tf.addN(dq);
    return [whole.o, lse, sum, ...dkdv.map((of) => kernels.concat(of, 1))];
  });
}

async function expectEqual(actual: Tensor[], wanted: Tensor[], tolerance: number): Promise<void> {
  for (const [i, name] of NAMES.entries()) await expectClose(actual[i] as Tensor, wanted[i] as Tensor, tolerance, name);
}

/** What `work` returns; it must leave nothing else. */
async function steadily(work: () => Tensor[]): Promise<Tensor[]> {
  await expectNoLeak(async () => tf.dispose(work()));
  return work();
}

onBackends(() => {
  test('a block of all keys is attention, with its gradients and log-sum-exp, for any ratio of heads', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.boolean(), tiles, async (drawn, causal, options) => {
        const T = Math.max(2, drawn.T); // one query over one key has gradients of 0: nothing to compare with
        const shape = { ...drawn, T, S: causal ? T : Math.max(2, drawn.S) };
        const inputs = inputsOf(shape);
        const wanted = tf.tidy(() => plainAttention(shape, inputs, causal));
        const actual = await steadily(() => oneBlock(inputs, { ...options, causal }));
        await expectEqual(actual, wanted, FLOAT32);
        tf.dispose([...inputs, ...wanted, ...actual]);
      }),
      { numRuns: 25 },
    );
  });

  test('blocks of some of the keys each, put together by their log-sum-exp, are the whole', async () => {
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: 11 }), { minLength: 1, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(shapes, cuts, tiles, async (drawn, places, options) => {
        const shape = { ...drawn, S: 12 };
        const inputs = inputsOf(shape);
        const wanted = tf.tidy(() => plainAttention(shape, inputs, false));
        const sorted = places.toSorted((a, b) => a - b);
        const actual = await steadily(() => severalBlocks(inputs, sorted, options));
        await expectEqual(actual, wanted, FLOAT32);
        tf.dispose([...inputs, ...wanted, ...actual]);
      }),
      { numRuns: 15 },
    );
  });

  test('one key has all the weight: o is its value, lse its score, and no gradient reaches q and k', async () => {
    const shape = { B: 2, G: 2, R: 2, T: 3, S: 1, K: 4 };
    const inputs = inputsOf(shape);
    const results = oneBlock(inputs, {});
    const [o, lse, dq, dk] = results as [Tensor, Tensor, Tensor, Tensor];
    const v = tf.tidy(() => tf.add(headsFirst(repeated(inputs[2], shape)), tf.zerosLike(o)));
    await expectClose(o, v, FLOAT32, 'o');
    const score = tf.tidy(() => tf.squeeze(plainScores(shape, inputs[0], inputs[1], false), [3]));
    await expectClose(lse, score, FLOAT32, 'lse');
    // dP and D are the same product, added up in another order: they differ by rounding, below 1e-6 for four terms.
    for (const d of [dq, dk]) for (const x of await d.data()) expect(Math.abs(x)).toBeLessThan(1e-5);
    tf.dispose([...inputs, ...results, v, score]);
  });

  test('scores in the hundreds, of either sign, neither overflow nor make NaN', async () => {
    const [q, ...others] = inputsOf({ B: 1, G: 1, R: 2, T: 5, S: 5, K: 4 });
    for (const factor of [300, -300]) {
      const large = tf.mul(q, factor);
      const results = oneBlock([large, ...(others as [Tensor, Tensor, Tensor])], { causal: true });
      for (const x of results) expect((await x.data()).every(Number.isFinite)).toBe(true);
      tf.dispose([large, ...results]);
    }
    tf.dispose([q, ...others]);
  });

  test('one causal block gives what causalAttention gives', async () => {
    const [q, k, v, dO] = inputsOf({ B: 2, G: 1, R: 3, T: 33, S: 33, K: 4 });
    const [o, pull] = await beside(causalAttention({ kvHeads: 1 }), 2)([q, k, v]);
    const results = oneBlock([q, k, v, dO], { causal: true });
    const wanted = [o, results[1] as Tensor, ...(await pull(dO))];
    await expectEqual(results, wanted, FLOAT32);
    tf.dispose([q, k, v, dO, ...wanted, ...results]);
  });
});

test('in bfloat16: close to the same numbers in float32, and lse is float32', async () => {
  await useBackend('cpu');
  const narrow = inputsOf({ B: 1, G: 2, R: 2, T: 20, S: 20, K: 4 }).map((x) => cast(x, 'bfloat16')) as Inputs;
  const inputs = narrow.map((x) => cast(x, 'float32')) as Inputs;
  for (const options of [{}, SMALL_TILES]) {
    const actual = await steadily(() => oneBlock(narrow, { ...options, causal: true }));
    expect(actual.map(dtypeOf)).toEqual(NAMES.map((name) => (name === 'lse' ? 'float32' : 'bfloat16')));
    const wanted = oneBlock(inputs, { causal: true });
    // S, dP, dS and dS · k are each cut at up to 2 BFLOAT16 where the CPU has no bfloat16 (see linear.test.ts).
    await expectEqual(actual, wanted, 8 * BFLOAT16);
    tf.dispose([...actual, ...wanted]);
  }
  tf.dispose([...narrow, ...inputs]);
});

test('2,048 queries over 2,048 keys need some tiles of 4 MiB, where all scores would take 64 MiB', async () => {
  await useBackend('cpu');
  const tileBytes = 4 * 2 ** 20;
  const wide = inputsOf({ B: 1, G: 1, R: 4, T: 2048, S: 2048, K: 8 });
  const narrow = wide.map((x) => cast(x, 'bfloat16')) as Inputs; // for the stock kernels
  const peakOf = (inputs: Inputs, causal: boolean) => {
    resetPeak();
    const before = memory().peakBytes;
    tf.dispose(oneBlock(inputs, { causal, tileBytes }));
    return memory().peakBytes - before;
  };
  for (const causal of [true, false]) {
    // Scores, masked scores, P, dP and dS before and after each step, half as large in bfloat16, as `memory` counts.
    expect(peakOf(narrow, causal)).toBeLessThan(12 * tileBytes);
    expect(peakOf(wide, causal)).toBeLessThan(tileBytes); // the results: o, dq and do · o are 0.25 MiB each
  }
  tf.dispose([...wide, ...narrow]);
});
