import { expect, test } from 'vitest';
import { distanceOf, endOf, verdictOf } from '../src/curve-distance.ts';

const flat = Array.from({ length: 45 }, (_, i) => 4 - i / 50);

test('a curve is no way from itself', () => {
  expect(distanceOf(flat, flat)).toEqual({ mean: 0, largest: 0, at: 1, windows: 0, from: 1, end: 0 });
  expect(endOf(flat)).toBeCloseTo(4 - 34.5 / 50, 12); // steps 26 to 45
});

test('noise that takes turns is in the steps, and not in the curve', () => {
  const noisy = flat.map((loss, i) => loss * (i % 2 === 0 ? 1.05 : 0.95));
  const distance = distanceOf(noisy, flat);
  expect(distance.mean).toBeCloseTo(0.05, 10);
  expect(distance.largest).toBeCloseTo(0.05, 10);
  expect(distance.windows).toBeLessThan(0.001);
  expect(verdictOf(distance)).toBe('yes');
});

test('a window that is off is found, wherever it is; one step tells where most', () => {
  const bumpy = flat.map((loss, i) => (i >= 10 && i < 20 ? loss * 1.02 : loss));
  bumpy[14] = (flat[14] as number) * 1.03;
  const distance = distanceOf(bumpy, flat);
  expect(distance).toMatchObject({ at: 15, end: 0 });
  expect(distance.windows).toBeCloseTo(0.021, 4);
  expect(verdictOf(distance)).toBe('no: steps 11 to 20');
});

test('an end that is off is found, also in steps that fill no window', () => {
  const ends = flat.map((loss, i) => (i >= 40 ? loss * 0.9 : loss));
  const distance = distanceOf(ends, flat);
  const { windows, end } = distance;
  expect(windows).toBe(0);
  expect(verdictOf(distance)).toBe('no: the end');
  // A tenth of the mean of steps 41 to 45, and that of steps 26 to 45.
  expect(end).toBeCloseTo((5 * 0.1 * (4 - 42 / 50)) / (20 * (4 - 34.5 / 50)), 10);
});

test('what is no number is not within', () => {
  const broken = flat.map((loss, i) => (i === 30 ? Number.NaN : loss));
  expect(verdictOf(distanceOf(broken, flat))).toBe('no: steps 31 to 40');
});
