import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Key, keyOf, normals, randomWords, threefry, uniforms } from '../src/random.ts';

test('Threefry-2x32-20 gives the known answers of Random123 (kat_vectors)', () => {
  const answer = (key: Key, c0: number, c1: number) => {
    const out = new Uint32Array(2);
    threefry(key, c0, c1, out, 0);
    return Array.from(out, (word) => word.toString(16));
  };
  expect(answer([0, 0], 0, 0)).toEqual(['6b200159', '99ba4efe']);
  expect(answer([0xffffffff, 0xffffffff], 0xffffffff, 0xffffffff)).toEqual(['1cb996fc', 'bb002be7']);
  expect(answer([0x13198a2e, 0x03707344], 0x243f6a88, 0x85a308d3)).toEqual(['c4923a9c', '483df7a0']);
  expect(Array.from(randomWords([0, 0], 0, 2), (word) => word.toString(16))).toEqual(['6b200159', '99ba4efe']);
});

test('a slice of a stream is what the whole stream has there', () => {
  const key = keyOf(7, 'slices');
  const whole = { words: randomWords(key, 0, 300), uniforms: uniforms(key, 0, 300), normals: normals(key, 0, 300) };
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 299 }), fc.integer({ min: 0, max: 300 }), (start, most) => {
      const count = Math.min(most, 300 - start);
      const end = start + count;
      expect(randomWords(key, start, count)).toEqual(whole.words.slice(start, end));
      expect(uniforms(key, start, count)).toEqual(whole.uniforms.slice(start, end));
      expect(normals(key, start, count)).toEqual(whole.normals.slice(start, end));
    }),
  );
});

test('places beyond 2^32 are reached, and differ from those below', () => {
  const key = keyOf(7, 'long');
  const far = 2 ** 34 + 1; // the pair's number is above 2^32: the counter's second word comes in
  expect(randomWords(key, far, 5).slice(1)).toEqual(randomWords(key, far + 1, 4));
  expect(randomWords(key, far, 5)).not.toEqual(randomWords(key, 1, 5));
});

test('another name or another seed is another stream, and the same ones are the same', () => {
  const seeds = [0, 1, 2, -1, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER];
  const names = ['', 'a', 'b', 'ab', 'ba', 'layers.1', 'layers.2', 'layers.11', 'é'];
  const streams = seeds.flatMap((seed) => names.map((name) => randomWords(keyOf(seed, name), 0, 4).join()));
  expect(new Set(streams).size).toBe(seeds.length * names.length);
  expect(keyOf(3, 'w')).toEqual(keyOf(3, 'w'));
});

// The bounds below are five standard errors of the figure over 100,000 numbers: they would be missed once in two
// million streams, and these streams are always the same.
const N = 100_000;
const meanOf = (values: ArrayLike<number>, f: (x: number) => number = (x) => x): number =>
  Array.from(values).reduce((sum, x) => sum + f(x), 0) / values.length;

test('uniforms lie in [0, 1), with the moments and the tenths of the uniform distribution', () => {
  const values = uniforms(keyOf(1, 'uniform'), 0, N);
  expect(Math.min(...values.slice(0, 50_000))).toBeGreaterThanOrEqual(0);
  expect(values.every((x) => x >= 0 && x < 1)).toBe(true);
  expect(Math.abs(meanOf(values) - 1 / 2)).toBeLessThan(5 * Math.sqrt(1 / 12 / N));
  expect(Math.abs(meanOf(values, (x) => x * x) - 1 / 3)).toBeLessThan(5 * Math.sqrt(4 / 45 / N));
  for (let tenth = 0; tenth < 10; tenth++) {
    const part = meanOf(values, (x) => (Math.floor(10 * x) === tenth ? 1 : 0));
    expect(Math.abs(part - 0.1)).toBeLessThan(5 * Math.sqrt(0.09 / N));
  }
});

test('normals have the first four moments of the normal distribution, and neighbours are independent', () => {
  const values = normals(keyOf(1, 'normal'), 0, N, 0.02).map((x) => x / 0.02);
  expect(Math.abs(meanOf(values))).toBeLessThan(5 / Math.sqrt(N));
  expect(Math.abs(meanOf(values, (x) => x ** 2) - 1)).toBeLessThan(5 * Math.sqrt(2 / N));
  expect(Math.abs(meanOf(values, (x) => x ** 3))).toBeLessThan(5 * Math.sqrt(15 / N));
  expect(Math.abs(meanOf(values, (x) => x ** 4) - 3)).toBeLessThan(5 * Math.sqrt(96 / N));
  const products = Array.from(values.slice(1), (x, i) => x * (values[i] as number));
  expect(Math.abs(meanOf(products))).toBeLessThan(5 / Math.sqrt(N));
});

test('normals are finite even where the uniform is 0', () => {
  // Some hundred thousand streams' first numbers; the smallest u is near 2^-17, and ln 2^-32 bounds them all.
  const values = normals(keyOf(1, 'tails'), 0, 1_000_000);
  const bound = Math.sqrt(2 * 32 * Math.LN2);
  expect(values.every((x) => Math.abs(x) <= bound)).toBe(true);
});
