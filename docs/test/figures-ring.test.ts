/** The figure of ring attention against context-parallel's own functions, a mask counted by hand, and one rank. */
import '@tensorflow/tfjs-backend-cpu';
import { checkContextParallel, ORDERS, positionsOf } from '@fourfold/context-parallel';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { ringFigure, ringSummary, runRing, TOKENS } from '../src/figures/ring.ts';

beforeAll(() => tf.setBackend('cpu'));

describe.each(ORDERS)('%s', (order) => {
  test.each([1, 2, 3, 4, 8])('the pairs of each rank and step on %i ranks are those of the whole mask', (cp) => {
    const { visits } = ringFigure({ cp, order });
    const positions = Array.from({ length: cp }, (_, rank) => positionsOf(cp * TOKENS, cp, rank, order));
    for (const { rank, source, pairs } of visits) {
      const seen = [...(positions[rank] ?? [])].flatMap((q) => [...(positions[source] ?? [])].filter((k) => k <= q));
      expect(pairs, `rank ${rank} of keys of ${source}`).toBe(seen.length);
    }
  });

  test.each([2, 3, 8])('the blocks of the mask on %i ranks add up to each visit', (cp) => {
    const { visits, blocks, length } = ringFigure({ cp, order });
    const size = { full: length * length, half: (length * (length + 1)) / 2, hidden: 0 };
    for (const { rank, step, pairs } of visits) {
      const own = blocks.filter((block) => block.rank === rank && block.step === step);
      expect(own.reduce((sum, { part }) => sum + size[part], 0)).toBe(pairs);
    }
  });

  test.each([2, 4])('on %i ranks attention is what one rank computes, and sends what the formula says', async (cp) => {
    const before = tf.memory().numTensors;
    const { steps, backward, formula, difference } = await runRing({ cp, order });
    expect(difference).toBeLessThan(1e-6); // float32 sums of 32 terms near 1, in another order
    expect(steps).toHaveLength(cp - 1);
    expect(new Set(steps)).toEqual(new Set([2 * TOKENS * 4 * 4])); // k and v: t tokens of 4 float32
    expect(steps.reduce((a, b) => a + b, 0) + backward).toBe(formula);
    expect(tf.memory().numTensors).toBe(before);
  });
});

test('every chunk has an owner, and the split can be made', () => {
  expect(ringFigure({ cp: 4, order: 'zigzag' }).owners).toEqual([0, 1, 2, 3, 3, 2, 1, 0]);
  expect(ringFigure({ cp: 4, order: 'contiguous' }).owners).toEqual([0, 1, 2, 3]);
  for (const order of ORDERS)
    for (let cp = 1; cp <= 8; cp++) checkContextParallel({ seqLength: cp * TOKENS, cp, order });
});

test('zigzag keeps all ranks at work, contiguous about half of them', () => {
  expect(ringFigure({ cp: 4, order: 'zigzag' }).busy).toBe(1);
  const t = TOKENS;
  const work = (4 * t * (t + 1)) / 2 + 6 * t * t; // four half blocks and six full ones
  const time = 4 * ((t * (t + 1)) / 2 + 3 * t * t); // rank 3's, the longest in every step
  expect(ringFigure({ cp: 4, order: 'contiguous' }).busy).toBeCloseTo(work / time, 12);
});

test('the summary says how even the work is', () => {
  expect(ringSummary(ringFigure({ cp: 4, order: 'zigzag' }))).toContain('as many pairs as any other');
  expect(ringSummary(ringFigure({ cp: 4, order: 'contiguous' }))).toContain(
    'Rank 3 computes 6.8 times the pairs of rank 0',
  );
});
