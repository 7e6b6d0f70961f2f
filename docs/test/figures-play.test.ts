/** Playing, and keeping up with a slider. */
import { expect, test } from 'vitest';
import { latest, playedTo } from '../src/figures/play.ts';

test('it flows to the end and stops there', () => {
  const pace = { length: 10, step: 1, speed: 4, smooth: true };
  expect([0, 250, 1000, 5000].map((time) => playedTo(0, time, pace))).toEqual([0, 1, 4, 10]);
  expect(playedTo(9, 1000, pace)).toBe(10);
});

test('or goes in whole steps from where it began', () => {
  const pace = { length: 8, step: 2, speed: 2, smooth: false };
  expect([0, 999, 1000, 2999, 9000].map((time) => playedTo(1, time, pace))).toEqual([1, 1, 3, 5, 8]);
});

test('of what is asked while one runs, the last alone is computed, and nothing old is shown', async () => {
  const computed: number[] = [];
  const shown: number[] = [];
  let go = () => {};
  const ask = latest<number, number>(
    async (value) => {
      computed.push(value);
      await new Promise<void>((resolve) => {
        go = resolve;
      });
      return value;
    },
    (value) => shown.push(value),
    (error) => expect.unreachable(String(error)),
  );
  const all = ask(1);
  for (const value of [2, 3, 4]) void ask(value);
  go();
  await new Promise((resolve) => setImmediate(resolve));
  go();
  await all;
  expect(computed).toEqual([1, 4]);
  expect(shown).toEqual([4]);
});

test('an error is told, and the next ask is computed', async () => {
  const told: unknown[] = [];
  const ask = latest<number, number>(
    async (value) => {
      if (value === 0) throw new Error('no zeros');
      return value;
    },
    (value) => told.push(value),
    (error) => told.push(String(error)),
  );
  await ask(0);
  await ask(1);
  expect(told).toEqual(['Error: no zeros', 1]);
});
