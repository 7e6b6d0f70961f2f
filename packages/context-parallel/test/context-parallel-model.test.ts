/** Models whose tokens are split over ranks, against one rank; what the ranks send. */
import {
  createLlama,
  initialize,
  initialWeights,
  type LlamaConfig,
  lossAndGradients,
  MODELS,
  type Recompute,
} from '@fourfold/model';
import { type ProcessGroup, spmd } from '@fourfold/process-group';
import { type DType, keyOf, randomWords } from '@fourfold/runtime';
import { expectNoLeak, useBackend } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { applyContextParallel, contextParallelBytes, ORDERS, type Order } from '../src/context-parallel.ts';
import { at, expectClose, FLOAT32 } from './ring.ts';

const CONFIG = { ...(MODELS['nano'] as LlamaConfig), vocabulary: 19 };
const [B, T] = [2, 24];
const [INPUTS, TARGETS] = [0, 1].map((shift) =>
  Array.from(
    { length: B * T },
    (_, i) => (randomWords(keyOf(2, 'text'), i + shift, 1)[0] as number) % CONFIG.vocabulary,
  ),
) as [number[], number[]];

interface ModelOptions {
  readonly order: Order;
  readonly dtype?: DType;
  readonly recompute?: Recompute;
}

/** The loss and gradients of a rank's tokens; on one rank, of all. */
async function trainOnce(cp: ProcessGroup, { order, ...options }: ModelOptions): Promise<Tensor[]> {
  const model = createLlama(CONFIG, options);
  applyContextParallel(model, cp, { order });
  initialize(model, initialWeights(3, CONFIG));
  const positions = model.positions(T / cp.size);
  const [tokens, targets] = [INPUTS, TARGETS].map((ids) =>
    tf.tidy(() => at(tf.tensor2d(ids, [B, T], 'int32'), positions, 1)),
  ) as [Tensor, Tensor];
  const loss = await lossAndGradients(model, tokens, targets);
  const gradients = model.parameters.map(({ grad }) => (grad as Tensor).clone());
  for (const parameter of model.parameters) parameter.dispose();
  tf.dispose([tokens, targets]);
  return [loss, ...gradients];
}

describe('a model', () => {
  beforeAll(() => useBackend('cpu'));

  test.each([
    [2, 'zigzag', 'none'],
    [3, 'zigzag', 'block'],
    [4, 'zigzag', 'selective'],
    [2, 'contiguous', 'none'],
    [4, 'contiguous', 'block'],
  ] as const)(
    'on %i ranks, %s, recomputing %s: loss and gradients are those of one',
    async (size, order, recompute) => {
      await expectNoLeak(async () => {
        const [wanted] = (await spmd(1, (cp) => trainOnce(cp, { order }))) as [Tensor[]];
        const ranks = await spmd(size, (cp) => trainOnce(cp, { order, recompute }));
        for (const [i, one] of wanted.entries()) {
          const mean = tf.tidy(() => tf.div(tf.addN(ranks.map((results) => results[i] as Tensor)), size));
          await expectClose(mean, one, FLOAT32, i === 0 ? 'loss' : `gradient ${i - 1}`);
          mean.dispose();
        }
        tf.dispose([...wanted, ...ranks.flat()]);
      });
    },
  );

  test('one rank keeps its own attention and positions', async () => {
    await spmd(1, async (cp) => {
      const model = createLlama(CONFIG);
      const { positions } = model;
      const attends = model.blocks.map((block) => block.attend);
      applyContextParallel(model, cp, { order: 'zigzag' });
      expect(model.positions).toBe(positions);
      expect(model.blocks.map((block) => block.attend)).toEqual(attends);
    });
  });
});

// ## What is sent

describe('traffic', () => {
  beforeAll(() => useBackend('cpu'));

  test.each([
    [2, 'float32', 'none'],
    [4, 'float32', 'block'],
    [3, 'bfloat16', 'selective'],
    [4, 'bfloat16', 'block'],
  ] as const)('%i ranks send what the formula says: %s, recomputing %s', async (size, dtype, recompute) => {
    const { layers, kvHeads: G, headDim: K } = CONFIG;
    for (const order of ORDERS) {
      const totals = await spmd(size, async (cp) => {
        tf.dispose(await trainOnce(cp, { order, dtype, recompute }));
        return cp.recorder.totals();
      });
      const ring = { B, G, t: T / size, K, cp: size, dtype, recompute };
      const bytes = layers * contextParallelBytes(ring);
      const calls = layers * ((recompute === 'block' ? 3 : 2) * (size - 1) + size);
      for (const of of totals) expect(of).toMatchObject([{ operation: 'sendReceive', bytes, calls }]);
    }
  });

  test('one rank sends nothing', () => {
    const ring = { B: 1, G: 2, t: 8, K: 4, cp: 1, dtype: 'float32', recompute: 'block' } as const;
    expect(contextParallelBytes(ring)).toBe(0);
  });
});
