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

test.each<[string, [string, unknown][], number[]]>([
  ['is told to', [['add_bos_token', true]], [1]],
  [
    'is told not to, though Llama 3’s do',
    [
      ['add_bos_token', false],
      ['pre', 'llama-bpe'],
    ],
    [],
  ],
  ['is cut as Llama 3’s are, and not told', [['pre', 'llama-bpe']], [1]],
  ['is of another kind, and not told', [], []],
  [
    'has no such token',
    [
      ['add_bos_token', true],
      ['bos_token_id', 1e6],
    ],
    [],
  ],
])('a text begins with a token of its own where the file %s', async (_, more, ids) => {
  const { settings, ...file } = await openGguf(at('tiny.gguf'));
  file.close();
  const own = [...settings].filter(([key]) => key !== 'tokenizer.ggml.add_bos_token');
  const added = [['bos_token_id', 1], ...more].map(([key, value]) => [`tokenizer.ggml.${key}`, value] as const);
  const files = tokenizerFilesFrom({ ...file, settings: new Map([...own, ...added]) });
  const { post_processor } = JSON.parse(files.get('tokenizer.json') ?? '');
  const named = Object.values(post_processor?.special_tokens ?? {}) as { ids: number[] }[];
  expect(named.flatMap((token) => token.ids)).toEqual(ids);
  const tokenizer = new Tokenizer(JSON.parse(files.get('tokenizer.json') ?? ''), {});
  expect(tokenizer.encode('whale').ids.slice(0, ids.length)).toEqual(ids);
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
