import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { learningRateAt, type Schedule, type ScheduleName } from '../src/index.ts';

const NAMES: ScheduleName[] = ['constant', 'linear', 'cosine', 'wsd'];
const run = (schedule: ScheduleName): Schedule => ({
  schedule,
  learningRate: 0.5,
  steps: 110,
  warmupSteps: 10,
  finalFraction: 0.1,
  decayFraction: 0.2,
});

describe('with a peak of 0.5, 110 steps, 10 of them warm-up, and an end of a tenth', () => {
  test.each(NAMES)('%s warms up in a straight line, from a tenth of the peak to the peak', (name) => {
    const rates = Array.from({ length: 10 }, (_, step) => learningRateAt(step, run(name)));
    rates.forEach((rate, step) => {
      expect(rate).toBeCloseTo(0.05 * (step + 1), 12);
    });
  });

  // By hand: linear is 0.5 (0.1 + 0.9 (1 - p)), cosine 0.5 (0.1 + 0.9 (1 + cos πp) / 2), p the part of the 100 steps
  // after warm-up that is over; wsd falls over the last 22 steps.
  test.each([
    ['constant', { 10: 0.5, 60: 0.5, 109: 0.5, 110: 0.5 }],
    ['linear', { 10: 0.5, 35: 0.3875, 60: 0.275, 109: 0.0545, 110: 0.05 }],
    [
      'cosine',
      {
        10: 0.5,
        35: 0.05 + 0.45 * (0.5 + Math.SQRT1_2 / 2),
        60: 0.275,
        85: 0.05 + 0.45 * (0.5 - Math.SQRT1_2 / 2),
        110: 0.05,
      },
    ],
    ['wsd', { 10: 0.5, 60: 0.5, 88: 0.5, 99: 0.275, 110: 0.05 }],
  ] as const)('%s has the numbers worked out by hand', (name, rates) => {
    for (const [step, rate] of Object.entries(rates))
      expect(learningRateAt(Number(step), run(name))).toBeCloseTo(rate, 12);
  });
});

const schedules: fc.Arbitrary<Schedule> = fc
  .record({
    schedule: fc.constantFrom(...NAMES),
    learningRate: fc.double({ min: 1e-6, max: 1, noNaN: true }),
    steps: fc.integer({ min: 1, max: 2000 }),
    warmup: fc.double({ min: 0, max: 1, noNaN: true }),
    finalFraction: fc.double({ min: 0, max: 1, noNaN: true }),
    decayFraction: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ warmup, ...rest }) => ({ ...rest, warmupSteps: Math.floor(warmup * rest.steps) }));

test('no rate is above the peak or below zero, in the run or after it', () => {
  fc.assert(
    fc.property(schedules, fc.integer({ min: 0, max: 3000 }), (s, step) => {
      const rate = learningRateAt(step, s);
      expect(rate).toBeGreaterThanOrEqual(0);
      expect(rate).toBeLessThanOrEqual(s.learningRate * (1 + 1e-12)); // the sum of parts may round up
    }),
    { numRuns: 2000 },
  );
});

test('after warm-up the rate only falls, without jumps, to finalFraction of the peak', () => {
  fc.assert(
    fc.property(schedules, (s) => {
      const left = Math.max(1, s.steps - s.warmupSteps);
      const rates = Array.from({ length: left + 1 }, (_, i) => learningRateAt(s.warmupSteps + i, s) / s.learningRate);
      const falls = rates.map((rate, i) => (rates[i - 1] ?? 1) - rate);
      // The steepest is a cosine in its middle, π / 2 times as steep as a line over the same steps.
      const falling = s.schedule === 'wsd' ? Math.max(1, Math.min(left, s.steps * s.decayFraction)) : left;
      expect(Math.min(...falls)).toBeGreaterThanOrEqual(-1e-12);
      expect(Math.max(...falls)).toBeLessThanOrEqual(Math.PI / 2 / falling + 1e-12);
      if (s.warmupSteps < s.steps) expect(rates[left]).toBeCloseTo(s.schedule === 'constant' ? 1 : s.finalFraction, 9);
    }),
    { numRuns: 1000 },
  );
});
