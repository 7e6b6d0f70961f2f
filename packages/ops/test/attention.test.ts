import { BYTES, cast, memory, resetPeak } from '@fourfold/runtime';
import { expectNoLeak, onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type AttentionOptions, causalAttention, type Layer } from '../src/index.ts';
import { BFLOAT16, beside, checkBfloat16, checkLayer, expectClose, FLOAT32, randn } from './helpers.ts';

/** B sequences, G key and value heads, R query heads for each, T tokens, K dimensions. */
interface Shape {
  readonly B: number;
  readonly G: number;
  readonly R: number;
  readonly T: number;
  readonly K: number;
}

const shapes = (shortest: number, longest: number): fc.Arbitrary<Shape> =>
  fc.record({
    B: fc.integer({ min: 1, max: 3 }),
    G: fc.integer({ min: 1, max: 2 }),
    R: fc.integer({ min: 1, max: 3 }),
    T: fc.integer({ min: shortest, max: longest }),
    K: fc.constantFrom(2, 4, 6, 8),
  });

const inputsOf = ({ B, G, R, T, K }: Shape): tf.Tensor[] => [
  randn('q', [B, T, G * R, K]),
  randn('k', [B, T, G, K]),
  randn('v', [B, T, G, K]),
];

/** The textbook: each head's own keys and values, the whole [T, T] of scores, those of the future far below 0. */
const reference =
  ({ B, G, R, T, K }: Shape) =>
  ([q, k, v]: tf.Tensor[]): tf.Tensor => {
    const headsFirst = (x?: tf.Tensor) => tf.transpose(x as tf.Tensor, [0, 2, 1, 3]);
    const repeated = (x?: tf.Tensor) =>
      tf.reshape(tf.mul(tf.reshape(headsFirst(x), [B * G, 1, T * K]), tf.ones([1, R, 1])), [B, G * R, T, K]);
    const scores = tf.div(tf.matMul(headsFirst(q), repeated(k), false, true), Math.sqrt(K));
    const future = tf.sub(1, tf.linalg.bandPart(tf.ones([T, T]), -1, 0));
    return headsFirst(tf.matMul(tf.softmax(tf.sub(scores, tf.mul(future, 1e9))), repeated(v)));
  };

/** At most 16 queries in a tile: the smallest there is. */
const SMALL_TILES = { tileBytes: 1 };
type Options = Omit<AttentionOptions, 'kvHeads'>;

/** Attention of [q, k, v], which it gets as heads of one tensor. */
const attentionOf =
  (options: Options = {}): Layer<readonly tf.Tensor[]> =>
  (inputs) =>
    beside(causalAttention({ ...options, kvHeads: inputs[1]?.shape[2] as number }), 2)(inputs);

onBackends(() => {
  test('attention is softmax(q · kᵀ / √K) · v over the past, with its gradients, for any ratio of heads', async () => {
    await fc.assert(
      fc.asyncProperty(shapes(4, 17), async (shape) => {
        await checkLayer({ layer: attentionOf(), inputs: inputsOf(shape), reference: reference(shape) });
      }),
      { numRuns: 12 },
    );
  });

  test('the same in several tiles', async () => {
    await fc.assert(
      fc.asyncProperty(shapes(18, 50), async (shape) => {
        const layer = attentionOf(SMALL_TILES);
        await checkLayer({ layer, inputs: inputsOf(shape), reference: reference(shape) });
      }),
      { numRuns: 6 },
    );
  });

  test('every length from 1 to 70 is covered by its tiles', async () => {
    for (let T = 1; T <= 70; T++) {
      const inputs = inputsOf({ B: 1, G: 1, R: 2, T, K: 2 });
      const [one, several] = [await outputOf(inputs, {}), await outputOf(inputs, SMALL_TILES)];
      await expectClose(several, one, FLOAT32, `T = ${T}`);
      tf.dispose([...inputs, one, several]);
    }
  });

  test('a token sees no other that comes after it', async () => {
    const inputs = inputsOf({ B: 1, G: 1, R: 2, T: 20, K: 4 });
    const first13 = (x: tf.Tensor) => tf.slice(x, [0, 0, 0, 0], [-1, 13, -1, -1]);
    const changed = inputs.map((x) => {
      const other = randn('other', [1, 7, x.shape[2] as number, 4]);
      return tf.tidy(() => tf.concat([first13(x), other], 1));
    });
    for (const options of [{}, SMALL_TILES]) {
      const outputs = [await outputOf(inputs, options), await outputOf(changed, options)];
      const [before, after] = await Promise.all(outputs.map((o) => tf.tidy(() => first13(o)).data()));
      expect(after).toEqual(before);
      tf.dispose(outputs);
    }
    tf.dispose([...inputs, ...changed]);
  });

  test('a single token attends to itself: o = v, and no gradient reaches q and k', async () => {
    const inputs = inputsOf({ B: 2, G: 1, R: 2, T: 1, K: 4 });
    const [o, pull] = await attentionOf()(inputs);
    const gradients = await pull(o);
    const v = tf.tidy(() => tf.add(inputs[2] as tf.Tensor, tf.zeros(o.shape)));
    await expectClose(o, v, FLOAT32, 'o');
    // dP and D are the same product, added up in another order: they differ by rounding, below 1e-6 for four terms.
    for (const d of gradients.slice(0, 2)) for (const x of await d.data()) expect(Math.abs(x)).toBeLessThan(1e-6);
    tf.dispose([...inputs, o, v, ...gradients]);
  });

  test('scores in the hundreds neither overflow nor make NaN', async () => {
    const shape = { B: 1, G: 1, R: 1, T: 6, K: 4 };
    const [q, k, v] = inputsOf(shape) as [tf.Tensor, tf.Tensor, tf.Tensor];
    const large = tf.mul(q, 1000);
    const [o, pull] = await attentionOf()([large, k, v]);
    const wanted = tf.tidy(() => reference(shape)([large, k, v]));
    await expectClose(o, wanted, 1e-4, 'o'); // scores of 1,000 are rounded at 6e-5, and e to that power is off as much
    const gradients = await pull(v);
    for (const d of gradients) expect((await d.data()).every(Number.isFinite)).toBe(true);
    tf.dispose([q, k, v, large, o, wanted, ...gradients]);
  });
});

async function outputOf(inputs: tf.Tensor[], options: Options): Promise<tf.Tensor> {
  const [o, pull] = await attentionOf(options)(inputs);
  pull.drop();
  return o;
}

/** q, k and v of such a shape as heads of one tensor. */
const joinedOf = (shape: Shape): tf.Tensor => tf.tidy(() => tf.concat(inputsOf(shape), 2));

test('no probabilities are kept: o, and one number a query', async () => {
  await useBackend('cpu');
  const [B, H, T, K] = [2, 3, 80, 8];
  for (const dtype of ['float32', 'bfloat16'] as const) {
    const wide = joinedOf({ B, G: 1, R: H, T, K });
    const qkv = cast(wide, dtype);
    const before = memory().bytes;
    const [o, pull] = await causalAttention({ kvHeads: 1 })(qkv);
    expect(memory().bytes - before).toBe(B * H * T * (BYTES[dtype] * K + 4)); // q, k and v are the caller's, shared
    pull.drop();
    tf.dispose([o, wide, qkv]);
  }
});

test('4,096 tokens need no more than their results, where all scores would take 512 MiB', async () => {
  await useBackend('cpu');
  const qkv = joinedOf({ B: 1, G: 2, R: 4, T: 4096, K: 32 });
  await expectNoLeak(async () => {
    resetPeak();
    const before = memory().peakBytes;
    const [o, pull] = await causalAttention({ kvHeads: 2 })(qkv);
    const gradient = await pull(o);
    // o and dq are 4 MiB each, dk and dv 1 MiB, lse 128 KiB.
    expect(memory().peakBytes - before).toBeLessThan(10.5 * 2 ** 20);
    expect(gradient.shape).toEqual(qkv.shape);
    tf.dispose([o, gradient]);
  });
  qkv.dispose();
});

test('with the stock kernels 2,048 tokens need some tiles of 4 MiB, where all scores would take 64 MiB', async () => {
  await useBackend('cpu');
  const tileBytes = 4 * 2 ** 20;
  const wide = joinedOf({ B: 1, G: 1, R: 4, T: 2048, K: 8 });
  const qkv = cast(wide, 'bfloat16');
  await expectNoLeak(async () => {
    resetPeak();
    const before = memory().peakBytes;
    const [o, pull] = await causalAttention({ kvHeads: 1, tileBytes })(qkv);
    // Scores and probabilities before and after each step, as `memory` counts them: reshaped ones twice.
    expect(memory().peakBytes - before).toBeLessThan(6 * tileBytes);
    tf.dispose(await pull(o));
    expect(memory().peakBytes - before).toBeLessThan(8 * tileBytes);
    o.dispose();
  });
  tf.dispose([wide, qkv]);
});

test('in bfloat16, with the softmax in float32', async () => {
  await useBackend('cpu');
  // S, dP, dS and dS · k are each cut at up to 2 BFLOAT16 where the CPU has no bfloat16 (see linear.test.ts).
  for (const options of [{}, SMALL_TILES])
    await checkBfloat16({
      layer: () => attentionOf(options),
      inputs: inputsOf({ B: 1, G: 1, R: 2, T: 18, K: 4 }),
      tolerance: 8 * BFLOAT16,
    });
});
