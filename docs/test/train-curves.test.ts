import { expect, test } from 'vitest';
import { apart, frameOf, pointsOf, xOf, yOf } from '../src/train/curves.ts';

const curve = (...losses: number[]) => ({ label: '', losses });

test('a frame holds all curves, and has one when there is none', () => {
  const frame = frameOf([curve(5.5, 4.2), curve(5.6, 3.9, 3.5)], 100, 60);
  expect(frame).toEqual({ width: 100, height: 60, steps: 50, low: 3, high: 6 });
  expect([xOf(frame, 50), yOf(frame, 6), yOf(frame, 3)]).toEqual([100, 0, 60]);
  const { low, high, steps } = frameOf([], 100, 60);
  expect([steps, high > low]).toEqual([50, true]);
  expect(frameOf([curve(...Array(51).fill(2))], 100, 60).steps).toBe(100);
});

test('points are the steps from 1 on', () => {
  const frame = frameOf([curve(4, 3)], 100, 60);
  expect(pointsOf(frame, curve(4, 3))).toBe('2.0,0.0 4.0,60.0');
});

test('curves lie apart by their largest relative difference, over the steps that both have', () => {
  expect(apart(curve(4, 2, 1), curve(4, 2.5))).toEqual({ steps: 2, relative: 0.25 });
  expect(apart(curve(4, 2), curve(4, 2.5), 1)).toEqual({ steps: 1, relative: 0 });
  expect(apart(curve(), curve(1))).toEqual({ steps: 0, relative: 0 });
});
