import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { changedJson, ordeal } from '@fourfold/runtime/testing/hostile';
import { afterAll, expect, test } from 'vitest';
import { tokenizerJson } from '../src/tokenizer-json.ts';
import { openTokenizer } from '../src/tokenizers.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-hostile-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('1,000 hostile tokenizer.json: each is refused in a sentence, or tokenizes', async () => {
  const sound = JSON.parse(await tokenizerJson('bytes'));
  sound.model.merges = ['t h', 'th e'];
  Object.assign(sound.model.vocab, { th: 256, the: 257 });
  sound.added_tokens = [{ id: 258, content: '<|end|>', special: true, normalized: false }];
  const path = join(folder, 'tokenizer.json');
  const outcomes = await ordeal(1000, async (_, draw) => {
    writeFileSync(path, changedJson(sound, draw));
    const tokenizer = await openTokenizer(path);
    expect(Number.isSafeInteger(tokenizer.vocabularySize)).toBe(true);
    const ids = Array.from(tokenizer.encode('the whale<|end|> né 18'));
    for (const id of ids) expect(id >= 0 && id < tokenizer.vocabularySize).toBe(true);
    tokenizer.decode(ids);
  });
  expect(outcomes.crashes).toEqual([]);
  expect(outcomes.refused).toBeGreaterThan(250);
  expect(outcomes.longest).toBeLessThan(5000);
}, 120_000);
