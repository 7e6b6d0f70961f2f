import { rankCount } from '@fourfold/process-group';
import { expect, test } from 'vitest';
import { BATCH, FIRST, jobOf, labelOf, MICROS, refusalOf, SIZES, sameRun, settingsOf } from '../src/train/choices.ts';

test('what the page begins with is sixteen ranks that can be trained', () => {
  expect(rankCount(settingsOf(FIRST))).toBe(16);
  expect(refusalOf(FIRST)).toBeUndefined();
});

test('a step has the same sequences in every layout that is not refused', () => {
  const sizes = new Set<number>();
  for (const dp of SIZES.dp)
    for (const micros of MICROS) {
      const choices = { ...FIRST, dp, micros };
      if (refusalOf(choices) !== undefined) continue;
      const { config } = jobOf(choices);
      sizes.add(config.dp * config.microBatchSize * config.gradAccSteps);
    }
  expect([...sizes]).toEqual([BATCH]);
});

test.each([
  [{ tp: 3 }, /^tp=3 does not divide heads=4: use 1, 2, 4/],
  [{ pp: 4, engine: 'interleaved' }, /^pp=4 x ppChunks=2 has more stages than layers=4/],
  [{ dp: 4, micros: 4 }, 'dp=4 x 4 micro-batches does not divide the 8 sequences of a step: use fewer of one'],
  [{ dp: 1, cp: 1, zero: true }, /^zero=true splits moments over dp x cp ranks: use dp=2 or more/],
] as const)('%j is refused in a sentence', (change, sentence) => {
  expect(refusalOf({ ...FIRST, ...change })).toMatch(sentence);
});

test('a label says what differs', () => {
  expect(labelOf(FIRST)).toBe('dp2 × pp2 × cp2 × tp2, 1f1b, 2 micro-batches, ZeRO-1');
  const alone = { dp: 1, pp: 1, cp: 1, tp: 1, micros: 1, zero: false };
  expect(labelOf({ ...FIRST, ...alone })).toBe('dp1 × pp1 × cp1 × tp1');
  expect(labelOf({ ...FIRST, sequenceParallel: true })).toContain('sequence-parallel');
});

test('a layout leaves the run the same; a learning rate does not', () => {
  expect(sameRun(FIRST, { ...FIRST, dp: 1, tp: 4, zero: false })).toBe(true);
  expect(sameRun(FIRST, { ...FIRST, learningRate: 1e-3 })).toBe(false);
});
