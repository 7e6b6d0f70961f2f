import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Logits } from '../src/decoder.ts';
import { choose, greedy, type Sampling, wantedFor } from '../src/sampler.ts';
import { chosenOf } from './support/whole-forward.ts';

/** Logits of these probabilities. */
const logitsOf = (probabilities: readonly number[]): Logits =>
  chosenOf(Float32Array.from(probabilities, Math.log), 'all');
const hot: Sampling = { ...greedy, temperature: 1 };

/** How often each token is drawn, of `count` draws. */
function frequencies(logits: Logits, sampling: Sampling, size: number, count = 4000): number[] {
  const drawn = Array<number>(size).fill(0);
  for (let index = 0; index < count; index++) (drawn[choose(logits, sampling, index).token] as number) += 1 / count;
  return drawn;
}

// Of 4000 draws a frequency has a standard deviation of at most 0.008: 0.03 is almost four of them, and the draws are
// the seed's own, so that a test that passes goes on passing.
const NEAR = 0.03;
const expectNear = (seen: readonly number[], wanted: readonly number[]): void => {
  wanted.forEach((each, i) => {
    expect(Math.abs((seen[i] as number) - each)).toBeLessThan(each === 0 ? Number.MIN_VALUE : NEAR);
  });
};

test('temperature 0 takes the likeliest token, of equals that of the lowest id', () => {
  expect(choose(logitsOf([0.2, 0.4, 0.4]), greedy, 0)).toMatchObject({ token: 1 });
  expect(choose({ ids: Int32Array.of(9, 4), values: Float32Array.of(2, 1), logSumExp: 3 }, greedy, 0)).toEqual({
    ...{ token: 9, logProbability: -1, alternatives: [] },
  });
});

test('tokens are drawn as often as the model believes, and by temperature', () => {
  const logits = logitsOf([0.5, 0.3, 0.2]);
  expectNear(frequencies(logits, hot, 3), [0.5, 0.3, 0.2]);
  // At half the temperature probabilities are squared: 25, 9 and 4 of 38.
  expectNear(frequencies(logits, { ...hot, temperature: 0.5 }, 3), [25 / 38, 9 / 38, 4 / 38]);
});

test('top_k keeps the likeliest k, of equals those of the lowest ids', () => {
  expectNear(frequencies(logitsOf([0.1, 0.3, 0.3, 0.3]), { ...hot, topK: 2 }, 4), [0, 0.5, 0.5, 0]);
  const asked = chosenOf(logitsOf([0.1, 0.3, 0.3, 0.3]).values, 2);
  expectNear(frequencies(asked, { ...hot, topK: 2 }, 4), [0, 0.5, 0.5, 0]);
});

test('top_p keeps the fewest likeliest that have so much together, the one that reaches it included', () => {
  const logits = logitsOf([0.1, 0.4, 0.3, 0.2]);
  expectNear(frequencies(logits, { ...hot, topP: 0.39 }, 4), [0, 1, 0, 0]);
  expectNear(frequencies(logits, { ...hot, topP: 0.41 }, 4), [0, 4 / 7, 3 / 7, 0]);
  expectNear(frequencies(logits, { ...hot, topP: 0.95 }, 4), [0.1, 0.4, 0.3, 0.2]);
});

test('any nucleus is that of sorting all', () => {
  const weights = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(weights, fc.double({ min: 0.01, max: 0.99, noNaN: true }), (parts, topP) => {
      const total = parts.reduce((a, b) => a + b, 0);
      const order = [...parts.keys()].sort((a, b) => (parts[b] as number) - (parts[a] as number) || a - b);
      let [had, size] = [0, 0];
      while (had < topP * total) had += parts[order[size++] as number] as number;
      // Logits are float32: a nucleus that a thousandth of a part would change may be either.
      fc.pre(Math.abs(had - topP * total) > 1e-3 && size === sizeAt(parts, order, topP * total + 1e-3));
      const nucleus = new Set(order.slice(0, size));
      const logits = logitsOf(parts.map((part) => part / total));
      for (let index = 0; index < 50; index++) expect(nucleus).toContain(choose(logits, { ...hot, topP }, index).token);
    }),
  );
});

function sizeAt(parts: readonly number[], order: readonly number[], much: number): number {
  let [had, size] = [0, 0];
  while (had < much && size < order.length) had += parts[order[size++] as number] as number;
  return size;
}

test('the same seed draws the same, another seed and another choice draw otherwise', () => {
  const logits = logitsOf(Array<number>(50).fill(1 / 50));
  const drawn = (sampling: Partial<Sampling>): number[] =>
    Array.from({ length: 20 }, (_, index) => choose(logits, { ...hot, ...sampling }, index).token);
  expect(drawn({ seed: 5 })).toEqual(drawn({ seed: 5 }));
  expect(drawn({ seed: 5 })).not.toEqual(drawn({ seed: 6 }));
  expect(drawn({ seed: 5 })).not.toEqual(drawn({ seed: 5, choice: 1 }));
});

test("log-probabilities are the model's own, and the likeliest come first", () => {
  const logits = logitsOf([0.25, 0.5, 0.25]);
  const { alternatives, logProbability } = choose(logits, { ...greedy, temperature: 0, alternatives: 2 }, 0);
  expect(logProbability).toBeCloseTo(Math.log(0.5), 6);
  expect(alternatives.map(({ token }) => token)).toEqual([1, 0]);
  expect(alternatives[1]?.logProbability).toBeCloseTo(Math.log(0.25), 6);
});

test('a bias makes a token likelier, and leaves its log-probability as it was', () => {
  const bias = new Map([[0, 10]]);
  const chosen = choose(logitsOf([0.25, 0.5, 0.25]), { ...greedy, bias }, 0);
  expect(chosen.token).toBe(0);
  expect(chosen.logProbability).toBeCloseTo(Math.log(0.25), 6);
});

test('no more logits are asked for than are needed', () => {
  expect(wantedFor(greedy)).toBe(1);
  expect(wantedFor({ ...greedy, alternatives: 5 })).toBe(5);
  expect(wantedFor(hot)).toBe('all');
  expect(wantedFor({ ...hot, topK: 40, alternatives: 3 })).toBe(40);
  expect(wantedFor({ ...greedy, bias: new Map([[1, 1]]) })).toBe('all');
});
