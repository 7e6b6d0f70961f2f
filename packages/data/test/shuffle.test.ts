import { keyOf } from '@fourfold/runtime/random';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { shuffled } from '../src/shuffle.ts';

const order = (n: number, seed: number) => Array.from({ length: n }, (_, i) => shuffled(i, n, keyOf(seed, 'test')));

test('every thing comes once, whatever their number and the seed', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 700 }), fc.nat(), (n, seed) => {
      expect(order(n, seed).sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
    }),
    { numRuns: 60 },
  );
});

test('the largest n it takes stays a permutation where one looks', () => {
  const n = 2 ** 32;
  const places = Array.from({ length: 2000 }, (_, i) => shuffled(n - 1 - i, n, keyOf(3, 'test')));
  expect(new Set(places).size).toBe(2000);
  expect(places.every((place) => Number.isInteger(place) && place >= 0 && place < n)).toBe(true);
});

test('seeds give different orders, and the same seed the same one', () => {
  expect(order(100, 1)).toEqual(order(100, 1));
  expect(order(100, 1)).not.toEqual(order(100, 2));
});

test('every thing is as likely at every place', () => {
  // 8 things, 4000 seeds: each of the 64 (thing, place) pairs is expected 500 times with a standard deviation of
  // sqrt(4000 x 1/8 x 7/8) = 20.9. The seeds are fixed, so the bound (five deviations) can't fail by chance.
  const counts = new Int32Array(64);
  for (let seed = 0; seed < 4000; seed++) {
    order(8, seed).forEach((thing, place) => {
      counts[thing * 8 + place] = (counts[thing * 8 + place] ?? 0) + 1;
    });
  }
  expect(Math.min(...counts)).toBeGreaterThan(500 - 105);
  expect(Math.max(...counts)).toBeLessThan(500 + 105);
});

test('neighbours part: few stay next to each other', () => {
  // In a random order of 1000, the thing after i directly follows it for one i on average.
  const places = order(1000, 7);
  const adjacent = places.filter((place, i) => i > 0 && place === (places[i - 1] ?? 0) + 1);
  expect(adjacent.length).toBeLessThan(8);
});
