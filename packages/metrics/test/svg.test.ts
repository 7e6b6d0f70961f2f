import fc from 'fast-check';
import { expect, test } from 'vitest';
import { escaped, px, scale, ticks } from '../src/svg.ts';

test('ticks are round numbers within the range', () => {
  expect(ticks(0, 400, 8)).toEqual([0, 50, 100, 150, 200, 250, 300, 350, 400]);
  expect(ticks(1.6, 6.3, 6)).toEqual([2, 3, 4, 5, 6]);
  expect(ticks(0.11, 0.29, 4)).toEqual([0.15, 0.2, 0.25]);
  expect(ticks(0, 1, 8)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
});

test('there are always some ticks, not too many, evenly spaced, inside the range', () => {
  const range = fc.tuple(
    fc.double({ min: -1e6, max: 1e6, noNaN: true }),
    fc.double({ min: 1e-3, max: 1e6, noNaN: true }),
  );
  fc.assert(
    fc.property(range, fc.integer({ min: 4, max: 10 }), ([low, size], count) => {
      const found = ticks(low, low + size, count);
      const gaps = found.slice(1).map((tick, i) => tick - (found[i] ?? 0));
      expect(found.length).toBeGreaterThanOrEqual(1);
      expect(found.length).toBeLessThanOrEqual(count + 1);
      expect(Math.min(...found)).toBeGreaterThanOrEqual(low - size * 1e-6);
      expect(Math.max(...found)).toBeLessThanOrEqual(low + size * (1 + 1e-6));
      for (const gap of gaps) expect(Math.abs(gap - (gaps[0] ?? 0))).toBeLessThan(size * 1e-6);
    }),
  );
});

test('a scale takes its ends where they belong, and an empty range to its beginning', () => {
  const place = scale([10, 20], [100, 300]);
  expect([10, 15, 20].map(place)).toEqual([100, 200, 300]);
  expect(scale([5, 5], [100, 300])(5)).toBe(100);
});

test('places are rounded, and text can end no element', () => {
  expect([1 / 3, 2, 1e-9].map(px)).toEqual(['0.3', '2', '0']);
  expect(escaped('<a href="x">&')).toBe('&lt;a href=&quot;x&quot;&gt;&amp;');
});
