import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { measure, windowsOf } from '../../src/commands/perplexity.ts';
import { run } from '../support/command.ts';
import { fakeDecoder, logitsAfter } from '../support/fake-decoder.ts';
import { tinyFolder } from '../support/tiny-folder.ts';
import { chosenOf } from '../support/whole-forward.ts';

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

test('windows count each token but the first once, with half a context before it', () => {
  expect(windowsOf(7, 10)).toEqual([{ from: 0, to: 7, counted: 1 }]);
  expect(windowsOf(23, 10)).toEqual([
    { from: 0, to: 10, counted: 1 },
    { from: 5, to: 15, counted: 10 },
    { from: 10, to: 20, counted: 15 },
    { from: 15, to: 23, counted: 20 },
  ]);
  for (const [length, context] of [
    [10, 10],
    [11, 10],
    [50, 7],
    [9, 2],
  ] as const) {
    const windows = windowsOf(length, context);
    expect(windows.reduce((sum, { to, counted }) => sum + to - counted, 0)).toBe(length - 1);
    for (const { from, to } of windows) expect(to - from).toBeLessThanOrEqual(context);
  }
});

/** Minus the mean log-probability, each token from those before it in its window. */
function reference(ids: readonly number[], context: number): number {
  let sum = 0;
  for (const { from, to, counted } of windowsOf(ids.length, context))
    for (let i = counted; i < to; i++) {
      const { values, logSumExp } = chosenOf(logitsAfter(ids.slice(from, i), 259), 'all');
      sum += logSumExp - (values[ids[i] as number] as number);
    }
  return sum / (ids.length - 1);
}

test('what is measured is the mean over all tokens, in steps of any size', async () => {
  const ids = Array.from({ length: 53 }, (_, i) => (i * i) % 256);
  for (const maxRows of [1, 7, 64])
    for (const context of [2, 16, 53, 200]) {
      const measured = await measure(fakeDecoder({ maxRows }), ids, context);
      expect(measured.tokens).toBe(52);
      // Sums of 52 doubles in the same order.
      expect(measured.meanNegativeLogLikelihood).toBeCloseTo(reference(ids, context), 12);
      expect(measured.perplexity).toBeCloseTo(Math.exp(reference(ids, context)), 8);
    }
  await expect(measure(fakeDecoder(), [1], 10)).rejects.toThrow('The text has 1 tokens: give one of at least 2');
});

test('the command prints a line of JSON', async () => {
  const folder = await tinyFolder();
  folders.push(folder);
  const text = join(folder, 'text.txt');
  writeFileSync(text, 'Call me Ishmael. Some years ago');
  const { code, stdout } = await run(['perplexity', '--model', folder, '--text', text, '--json']);
  expect([code, JSON.parse(stdout)]).toMatchObject([0, { tokens: 31, perplexity: expect.any(Number) }]);
  expect(JSON.parse(stdout).perplexity).toBeGreaterThan(1);
  const missing = await run(['perplexity', '--model', folder, '--text', join(folder, 'none')]);
  expect([missing.code, missing.stderr]).toEqual([2, expect.stringContaining("none can't be read")]);
});
