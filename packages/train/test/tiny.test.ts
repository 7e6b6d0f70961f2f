/**
 * The whole system in one test: a text becomes tokens, a tiny Llama learns it on 16 ranks, and writes.
 */
import { expect, test } from 'vitest';
import { expectNothingLeft, LAYOUTS } from './leaks.ts';
import { trained } from './run.ts';
import { expectSameOnSixteen } from './sixteen.ts';

test('a tiny model learns a small text, and writes words of it', async () => {
  const settings = { steps: 60, sampleTokens: 80, temperature: 0, prompt: '3 whales ' };
  const { said, losses, validation } = await trained(settings);
  expect(losses).toHaveLength(60);
  expect(losses[0]).toBeGreaterThan(5.3); // ln 256 = 5.55: it knows nothing yet
  expect(validation).toBeLessThan(1.2); // letters at their frequencies alone would be 2.8
  expect(said).toMatch(/swim to the \w+ and sing\n/);
});

test('16 ranks learn the same, validate the same and write the same', () => expectSameOnSixteen(20));

test('the same settings give the same bits, another seed does not', async () => {
  const [first, second] = [await trained({ steps: 6 }), await trained({ steps: 6 })];
  const other = await trained({ steps: 6, seed: 2 });
  expect(second.losses).toEqual(first.losses);
  expect(second.validation).toBe(first.validation);
  expect(other.losses).not.toEqual(first.losses);
});

test('four sequences at once or in two passes of two: the same training', async () => {
  const [whole, halves] = [
    await trained({ steps: 8 }),
    await trained({ steps: 8, microBatchSize: 2, gradAccSteps: 2 }),
  ];
  whole.losses.forEach((loss, i) => {
    expect(Math.abs((halves.losses[i] ?? 0) / loss - 1)).toBeLessThan(1e-5);
  });
});

test('recomputation changes no bit', async () => {
  const kept = await trained({ steps: 4 });
  for (const recompute of ['selective', 'block'])
    expect((await trained({ steps: 4, recompute })).losses, recompute).toEqual(kept.losses);
});

test.each(LAYOUTS)('a run of 8 steps leaves no tensor behind: %j', (layout) => expectNothingLeft(layout, 8));
