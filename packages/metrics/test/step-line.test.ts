import { expect, test } from 'vitest';
import { formatBytes, formatCount, formatStep } from '../src/step-line.ts';

const figures = {
  step: 12,
  steps: 400,
  loss: 3.21449,
  gradNorm: 1.234,
  learningRate: 2.9e-4,
  tokensPerSecond: 41_234,
  milliseconds: 24.84,
  memoryBytes: 312_400_000,
};

test('a step is one line', () => {
  expect(formatStep(figures)).toBe(
    'step  12/400 | loss  3.2145 | norm   1.23 | lr 2.9e-04 | 41.2K tok/s |   24.8 ms |  312 MB',
  );
  expect(formatStep({ ...figures, mfu: 0.4126 })).toMatch(/ {2}312 MB \| mfu 41\.3%$/);
});

test('columns stay in place from the first step to the last, through large and small values', () => {
  const first = { ...figures, step: 1, loss: 11.0321, gradNorm: 104.5, learningRate: 0, milliseconds: 1843.2 };
  const last = { ...figures, step: 400, loss: 0.4, gradNorm: 0.02, tokensPerSecond: 7, memoryBytes: 31.5e9 };
  const bars = (line: string): number[] => [...line.matchAll(/\|/g)].map(({ index }) => index);
  expect(bars(formatStep(first))).toEqual(bars(formatStep(figures)));
  expect(bars(formatStep(last))).toEqual(bars(formatStep(figures)));
});

test('a loss that is no number is shown as such', () => {
  expect(formatStep({ ...figures, loss: Number.NaN, gradNorm: Number.POSITIVE_INFINITY })).toMatch(
    / loss {5}NaN \| norm Infinity \| /,
  );
});

test.each([
  [0, '0'],
  [7.4, '7'],
  [999.4, '999'],
  [999.6, '1.00K'],
  [1234, '1.23K'],
  [41_234, '41.2K'],
  [412_340, '412K'],
  [999_950, '1.00M'],
  [1_710_000, '1.71M'],
  [6.74e9, '6.74B'],
  [1.5e12, '1.50T'],
  [1.5e15, '1500T'],
])('%s is %s', (count, text) => {
  expect(formatCount(count)).toBe(text);
});

test.each([
  [0, '0 MB'],
  [312_400_000, '312 MB'],
  [999_400_000, '999 MB'],
  [999_600_000, '1.00 GB'],
  [31.46e9, '31.5 GB'],
])('%s bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});
