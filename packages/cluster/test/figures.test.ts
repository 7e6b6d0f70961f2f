import fc from 'fast-check';
import { expect, test } from 'vitest';
import { figuresOf, median } from '../src/metrics/figures.ts';

const step = (step: number, tokensPerSecond: number, more: object = {}) =>
  JSON.stringify({
    step,
    loss: 6 - step,
    tokensPerSecond,
    milliseconds: 1000 / tokensPerSecond,
    memoryBytes: 100,
    ...more,
  });
const text = (...lines: string[]): string => lines.map((line) => `${line}\n`).join('');

test('the first steps count for no median, one slow step does not move it, the last loss is the loss', () => {
  const lines = [step(1, 1), step(2, 2), step(3, 100), step(4, 1), step(5, 102), step(6, 101)];
  expect(figuresOf(text(...lines), 2)).toEqual({
    ...{ step: 6, loss: 0, validationLoss: undefined, tokensPerSecond: 100.5, mfu: undefined, memoryBytes: 100 },
    ...{ milliseconds: (10 + 1000 / 101) / 2, unreadable: 0 },
  });
  expect(figuresOf(text(...lines), 6).tokensPerSecond).toBeUndefined();
  expect(figuresOf(text(...lines), 6).loss).toBe(0);
});

test('validations are no steps', () => {
  const validation = JSON.stringify({ step: 2, validationLoss: 2.4, bitsPerByte: 3.46 });
  const figures = figuresOf(text(step(1, 10, { mfu: 0.2 }), step(2, 20, { mfu: 0.4 }), validation), 0);
  expect(figures).toMatchObject({ step: 2, loss: 4, validationLoss: 2.4, tokensPerSecond: 15, unreadable: 0 });
  expect(figures.mfu).toBeCloseTo(0.3, 12);
});

test('a last line without an end is still being written; other torn lines are counted', () => {
  expect(figuresOf(`${text(step(1, 10))}{"step":2,"lo`, 0)).toMatchObject({ step: 1, unreadable: 0 });
  // Killed at step 2, begun again at a checkpoint: what was half there stands before what came next.
  const torn = text(step(1, 10), `{"step":2,"lo${step(1, 20)}`, step(2, 30), '42', '{"step":-1}', '');
  expect(figuresOf(torn, 0)).toMatchObject({ step: 2, tokensPerSecond: 20, unreadable: 4 });
});

test('of a step that is there twice the later word counts', () => {
  expect(figuresOf(text(step(1, 10), step(2, 10), step(2, 40)), 1)).toMatchObject({ tokensPerSecond: 40 });
});

test('a loss that was NaN is none, not the one before', () => {
  expect(figuresOf(text(step(1, 10), step(2, 10, { loss: null })), 0).loss).toBeUndefined();
});

test('half of the values are not above the median, and half not below', () => {
  expect(median([])).toBeUndefined();
  expect(median([3])).toBe(3);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 1 }), (values) => {
      const middle = median(values) ?? Number.NaN;
      expect(values.filter((value) => value <= middle).length * 2).toBeGreaterThanOrEqual(values.length);
      expect(values.filter((value) => value >= middle).length * 2).toBeGreaterThanOrEqual(values.length);
    }),
  );
});
