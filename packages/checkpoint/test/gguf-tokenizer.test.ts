import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Tokenizer } from '@huggingface/tokenizers';
import { expect, test } from 'vitest';
import { openGguf } from '../src/gguf/file.ts';
import { tokenizerFilesFrom } from '../src/gguf/tokenizer.ts';

const at = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const { texts }: { texts: { text: string; ids: number[] }[] } = JSON.parse(
  readFileSync(at('tiny-reference.json'), 'utf8'),
);

test("the vocabulary as a tokenizer.json gives the ids of Hugging Face's tokenizers", async () => {
  const file = await openGguf(at('tiny.gguf'));
  const files = tokenizerFilesFrom(file);
  file.close();
  const tokenizer = new Tokenizer(JSON.parse(files.get('tokenizer.json') ?? ''), {});
  for (const { text, ids } of texts) {
    expect(tokenizer.encode(text, { add_special_tokens: false }).ids).toEqual(ids);
    expect(tokenizer.decode(ids, { skip_special_tokens: false, clean_up_tokenization_spaces: false })).toBe(text);
  }
  const config = JSON.parse(files.get('tokenizer_config.json') ?? '');
  expect(config).toMatchObject({ bos_token: '<|end|>', eos_token: '<|end|>', pad_token: null });
});

test('a vocabulary of another kind, or cut in a way that is not known, gives no files', async () => {
  const { settings, ...file } = await openGguf(at('tiny.gguf'));
  file.close();
  for (const [key, value] of [
    ['model', 'llama'],
    ['pre', 'other'],
    ['tokens', [1, 2]],
  ])
    expect(
      tokenizerFilesFrom({ ...file, settings: new Map([...settings, [`tokenizer.ggml.${key}`, value]]) }).size,
    ).toBe(0);
});
