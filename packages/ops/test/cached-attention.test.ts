/** Attention over caches against the same in float64 (stock-attention.ts), which a softmax over all keys tests. */
import { read } from '@fourfold/runtime';
import { hostInts } from '@fourfold/runtime/shapes';
import { stockKernels } from '@fourfold/runtime/tensorflow';
import { expectNoLeak, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import {
  type CachedAttentionOptions,
  type CacheFormat,
  cachedAttention,
  copyCache,
  createCache,
  ropeFrequencies,
  ropeTables,
} from '../src/index.ts';
import { distance, tensorOf } from './quantized.ts';

beforeAll(() => useBackend('cpu'));

const [K, POSITIONS, H, G] = [32, 80, 6, 2];
/** [slot, position] of each row; steps follow one another. */
type Step = [slot: number, position: number][];
const prompt = (slot: number, first: number, count: number): Step =>
  Array.from({ length: count }, (_, i) => [slot, first + i]);
/** Two prompts, one in two parts; both go on beside a third one's beginning; at last a position is written over. */
const STEPS: Step[] = [
  prompt(0, 0, 40),
  prompt(2, 0, 5),
  [...prompt(2, 5, 30), [0, 40]],
  [...prompt(1, 0, 3), [2, 35], [0, 41]],
  [[0, 41]],
];

type Options = Omit<CachedAttentionOptions, 'tables' | 'qkNorm'> & { norm?: boolean };
const PLAIN: Options = { heads: H, scale: K ** -0.5 };

/** Each step's outputs: rows of H·K numbers. */
async function attend(format: CacheFormat, options: Options, steps = STEPS, kvHeads = G): Promise<number[][][]> {
  return expectNoLeak(async () => {
    const { heads, norm } = options;
    const tables = ropeTables(
      Array.from({ length: POSITIONS }, (_, i) => i),
      ropeFrequencies(K, 10000),
    );
    const gains = [tensorOf('q gain', [K]), tensorOf('k gain', [K])] as const;
    const qkNorm = norm ? { q_K: gains[0], k_K: gains[1], epsilon: 1e-6 } : undefined;
    const cache = createCache({ slots: 3, positions: POSITIONS, kvHeads, headDim: K, format });
    const results: number[][][] = [];
    for (const step of steps) {
      const qkv = tf.tidy(() =>
        tf.concat(step.map(([slot, at]) => tensorOf(`${slot} ${at}`, [1, heads + 2 * kvHeads, K]))),
      );
      const rows = hostInts(Int32Array.from(step.flat()), [step.length, 2]);
      const o = cachedAttention(qkv, cache, rows, { ...options, tables, qkNorm });
      const values = Array.from(await read(o));
      results.push(step.map((_, n) => values.slice(n * heads * K, (n + 1) * heads * K)));
      tf.dispose([qkv, rows, o]);
    }
    cache.dispose();
    tf.dispose([tables.cos_TK, tables.sin_TK, ...gains]);
    return results;
  });
}

/** float32's roundings of sums over 80 keys: 1e-6 was the worst. bfloat16 and q80 round k and v alike in both. */
const FLOAT32 = 4e-6;
const VARIETIES: [string, Options][] = [
  ['as in Llama', PLAIN],
  ['with norms of q and k', { ...PLAIN, norm: true }],
  ['with a window', { ...PLAIN, window: 7 }],
  ['with capped scores', { ...PLAIN, softcap: 3 }],
  ['of a rank that begins amid a group', { ...PLAIN, heads: 4, groupSize: 3, headOffset: 2 }],
];

test.each(VARIETIES)('attention %s is that of float64', async (_, options) => {
  const actual = await attend('f32', options);
  const expected = await stockKernels(() => attend('f32', options));
  for (const [i, step] of expected.entries())
    expect(distance(actual[i]?.flat() ?? [], step.flat()), `step ${i}`).toBeLessThan(FLOAT32);
});

// A cache of bfloat16 or Q80 rounds what it takes in. The op turns k in float32, the reference in float64: where that
// falls to two sides of an edge, one number differs by a step, 2^-8 of itself or 1/127 of the block's largest.
test.each([
  ['bf16', 2e-3],
  ['q80', 4e-3],
] as const)('a cache of %s rounds as it says', async (format, tolerance) => {
  const actual = await attend(format, PLAIN);
  const expected = await stockKernels(() => attend(format, PLAIN));
  expect(distance(actual.flat(2), expected.flat(2))).toBeLessThan(tolerance);
  const exact = await attend('f32', PLAIN);
  expect(distance(actual.flat(2), exact.flat(2))).toBeGreaterThan(1e-4);
});

test.each(['f32', 'bf16', 'q80'] as const)(
  'in a cache of %s a row has the same bits whatever the others',
  async (format) => {
    const together = await attend(format, PLAIN);
    const alone = await attend(
      format,
      PLAIN,
      STEPS.flat().map((row) => [row]),
    );
    expect(alone.flat()).toEqual(together.flat());
  },
);

test('a copied slot goes on as its original does', async () => {
  const tables = ropeTables(
    Array.from({ length: 9 }, (_, i) => i),
    ropeFrequencies(K, 10000),
  );
  for (const format of ['f32', 'bf16', 'q80'] as const)
    for (const way of [(work: () => Promise<void>) => work(), (work: () => Promise<void>) => stockKernels(work)])
      await way(async () => {
        const cache = createCache({ slots: 2, positions: 9, kvHeads: G, headDim: K, format });
        const step = async (rows: Step, name: string) => {
          const qkv = tensorOf(name, [rows.length, H + 2 * G, K]);
          const at = hostInts(Int32Array.from(rows.flat()), [rows.length, 2]);
          const o = cachedAttention(qkv, cache, at, { ...PLAIN, tables });
          return Array.from(await read(o));
        };
        await step(prompt(0, 0, 6), 'beginning');
        copyCache(cache, 0, 1, 6);
        expect(await step([[1, 6]], 'end')).toEqual(await step([[0, 6]], 'end'));
        cache.dispose();
      });
});

test('what does not fit is refused in a sentence', () => {
  const cache = createCache({ slots: 2, positions: 4, kvHeads: 1, headDim: K, format: 'f32' });
  const tables = ropeTables([0, 1, 2, 3], ropeFrequencies(K, 10000));
  const at =
    (slot: number, position: number, options = {}) =>
    () =>
      cachedAttention(tensorOf('qkv', [1, 3, K]), cache, tf.tensor2d([[slot, position]], [1, 2], 'int32'), {
        ...{ heads: 1, scale: 1, tables },
        ...options,
      });
  for (const place of [at(2, 0), at(-1, 0), at(0, 4), at(0, -1)])
    expect(place).toThrow("a row's slot or position is not one of the cache's");
  expect(at(0, 0, { heads: 2 })).toThrow('needs qkv [N, (H+2G)K], cache, rows [N, 2], cos, sin [P, K], gains, but got');
  expect(at(0, 0, { headOffset: 1 })).toThrow("these heads don't read those of that cache");
  expect(() => createCache({ slots: 1, positions: 1, kvHeads: 1, headDim: 40, format: 'q80' })).toThrow(
    'heads of 40 numbers are not whole blocks of 32',
  );
  expect(() => copyCache(cache, 0, 1, 5)).toThrow('no such slots or positions in this cache');
  cache.dispose();
});
