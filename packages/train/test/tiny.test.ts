/**
 * The whole system in one test: a text becomes tokens, a tiny Llama learns it, and writes.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openRunLog } from '@fourfold/metrics';
import { memory } from '@fourfold/runtime';
import { afterAll, expect, test } from 'vitest';
import { prepare, type Run, sample, settings, train, validate } from '../src/train.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-train-'));
afterAll(() => rmSync(folder, { recursive: true }));

// A text with something to learn: which animal does what depends on a number eleven words back.
const text = join(folder, 'text.txt');
const animals = ['whale', 'gull', 'shark', 'squid'];
const line = (i: number) => `${i % 7} ${animals[(i * i) % 4]}s swim to the ${animals[(i + 1) % 4]} and sing\n`;
writeFileSync(text, Array.from({ length: 900 }, (_, i) => line(i)).join(''));

const quiet = { write: () => true };
const never = new AbortController().signal;
const small = {
  model: 'nano',
  data: text,
  seqLength: 32,
  microBatchSize: 4,
  steps: 60,
  device: 'cpu',
  learningRate: 1e-2,
};

async function run(change: Record<string, unknown> = {}): Promise<{ run: Run; losses: number[]; validation: number }> {
  const config = settings.parse({ ...small, evalSequences: 8, sampleTokens: 0, ...change });
  const metrics = join(folder, 'metrics.jsonl');
  const log = openRunLog({ title: 'test', steps: config.steps, metrics, screen: quiet });
  const made = await prepare(config, log.say);
  const validation = await train(made, log, never);
  log.close();
  const records = readFileSync(metrics, 'utf8')
    .trim()
    .split('\n')
    .map((each) => JSON.parse(each) as { loss?: number });
  return { run: made, losses: records.flatMap(({ loss }) => (loss === undefined ? [] : [loss])), validation };
}

test('a tiny model learns a small text, and writes words of it', async () => {
  const { run: made, losses, validation } = await run({ sampleTokens: 80, temperature: 0 });
  expect(losses).toHaveLength(60);
  expect(losses[0]).toBeGreaterThan(5.3); // ln 256 = 5.55: it knows nothing yet
  expect(validation).toBeLessThan(1.2); // letters at their frequencies alone would be 2.8
  expect(await validate(made)).toBe(validation);
  expect(await sample(made, '3 whales ')).toMatch(/swim to the \w+ and sing\n/);
});

test('the same settings give the same bits, another seed does not', async () => {
  const [first, second, other] = [await run({ steps: 6 }), await run({ steps: 6 }), await run({ steps: 6, seed: 2 })];
  expect(second.losses).toEqual(first.losses);
  expect(second.validation).toBe(first.validation);
  expect(other.losses).not.toEqual(first.losses);
});

test('four sequences at once or in two passes of two: the same training', async () => {
  const [whole, halves] = [await run({ steps: 8 }), await run({ steps: 8, microBatchSize: 2, gradAccSteps: 2 })];
  whole.losses.forEach((loss, i) => {
    expect(Math.abs((halves.losses[i] ?? 0) / loss - 1)).toBeLessThan(1e-5);
  });
});

test('recomputation changes no bit', async () => {
  const [kept, recomputed] = [await run({ steps: 4 }), await run({ steps: 4, recompute: true })];
  expect(recomputed.losses).toEqual(kept.losses);
});

test('steps leave no tensor behind', async () => {
  await run({ steps: 2 });
  const counts: number[] = [];
  for (const steps of [2, 5]) {
    const before = memory().tensors;
    await run({ steps });
    counts.push(memory().tensors - before);
  }
  expect(counts[1]).toBe(counts[0]); // what is left is the model's parameters, however many steps were made
});
