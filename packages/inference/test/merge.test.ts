/** Logits from slices are those of the whole vocabulary. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Logits } from '../src/decoder.ts';
import { mergeLogits } from '../src/merge.ts';

const logSumExp = (values: readonly number[]): number => {
  const most = Math.max(...values);
  return most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
};

/** The k best of values whose first id is `first`; of equal ones the lower id. */
function best(values: readonly number[], k: number, first: number): Logits {
  const order = values.map((_, i) => i).sort((a, b) => (values[b] as number) - (values[a] as number) || a - b);
  const kept = order.slice(0, k);
  return {
    ids: Int32Array.from(kept, (i) => first + i),
    values: Float32Array.from(kept, (i) => values[i] as number),
    logSumExp: logSumExp(values),
  };
}

// Few different numbers, so that many are equal.
const slices = fc.array(fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 1, maxLength: 6 }), {
  minLength: 1,
  maxLength: 5,
});

test('the best of the best of slices are the best of all, lower ids first, and so is the sum', () => {
  fc.assert(
    fc.property(slices, fc.integer({ min: 1, max: 8 }), (parts, k) => {
      let first = 0;
      const logits = parts.map((values) => {
        first += values.length;
        return best(values, k, first - values.length);
      });
      const merged = mergeLogits(logits, k);
      const whole = best(parts.flat(), k, 0);
      expect(merged.ids).toEqual(whole.ids);
      expect(merged.values).toEqual(whole.values);
      expect(merged.logSumExp).toBeCloseTo(whole.logSumExp, 12);
    }),
  );
});

test('all of them are the slices in order', () => {
  const part = (...values: number[]): Logits => ({ values: Float32Array.from(values), logSumExp: logSumExp(values) });
  const merged = mergeLogits([part(1, 2), part(3)], 'all');
  expect([...merged.values]).toEqual([1, 2, 3]);
  expect(merged.ids).toBeUndefined();
  expect(merged.logSumExp).toBeCloseTo(logSumExp([1, 2, 3]), 12);
});

test('a rank alone keeps its sum to the bit, and very small logits do not vanish', () => {
  expect(mergeLogits([{ values: new Float32Array(1), logSumExp: 0.1 }], 'all').logSumExp).toBe(0.1);
  const far = mergeLogits(
    [
      { values: Float32Array.of(-2000), logSumExp: -2000 },
      { values: Float32Array.of(-2000), logSumExp: -2000 },
    ],
    'all',
  );
  expect(far.logSumExp).toBeCloseTo(-2000 + Math.log(2), 9);
});
