import { expect, test } from 'vitest';
import { Outliers } from '../src/index.ts';

/** Losses around 3, norms around 1, never twice the same. */
const calm = (step: number) => [3 + 0.1 * Math.sin(step), 1 + 0.05 * Math.cos(3 * step)] as const;

function after(steps: number, limit = 6): Outliers {
  const outliers = new Outliers(limit);
  for (let step = 0; step < steps; step++) expect(outliers.judge(...calm(step))).toBeUndefined();
  return outliers;
}

test('a calm run has none, in ten windows', () => {
  after(1280);
});

test.each([
  ['loss', 9, 1],
  ['gradient norm', 3, 40],
])('a %s far above the window is one, with its z', (_, loss, norm) => {
  const z = after(128).judge(loss, norm);
  expect(z).toBeGreaterThan(6);
  expect(z).toBeLessThan(Math.sqrt(127) + 1e-9); // one of n numbers is at most sqrt(n - 1) deviations away
});

test('the z is that of the window with the step in it', () => {
  const outliers = new Outliers(1, { losses: Array(128).fill(1), norms: Array(128).fill(2) });
  expect(outliers.judge(2, 2)).toBeCloseTo((2 - 129 / 128) / Math.sqrt((127 / 128) * (1 / 128)), 9);
});

test('no step is one before the window is full, nor one far below it, nor within a higher limit', () => {
  expect(after(127).judge(9, 1)).toBeUndefined();
  expect(after(128).judge(-9, 1)).toBeUndefined();
  expect(after(128, 12).judge(9, 1)).toBeUndefined();
});

test('goes on from its window as if it had not been interrupted, through JSON too', () => {
  const outliers = after(200);
  const resumed = new Outliers(6, JSON.parse(JSON.stringify(outliers.window)));
  expect(outliers.window.losses).toHaveLength(128);
  for (const [loss, norm] of [
    [3.01, 1],
    [9, 1],
    [3, 1.3],
  ] as const)
    expect(resumed.judge(loss, norm)).toBe(outliers.judge(loss, norm));
  expect(resumed.window).toEqual(outliers.window);
});
