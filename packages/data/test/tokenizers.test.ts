import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { openTokenizer } from '../src/tokenizers.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-tokenizers-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A tokenizer.json of bytes (by GPT-2's letters for them), one merge, and one special token. */
function tinyTokenizer(changes: object = {}): string {
  const vocab = { W: 0, h: 1, a: 2, l: 3, e: 4, '\u0120': 5, al: 6, Ã: 7, '©': 8, '.': 9 }; // \u0120 is a space
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const file = {
    version: '1.0',
    added_tokens: [{ id: 10, content: '<eos>', special: true, normalized: false }],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<eos>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<eos>': { id: '<eos>', ids: [10], tokens: ['<eos>'] } },
    },
    decoder: byteLevel,
    model: { type: 'BPE', vocab, merges: [['a', 'l']], ...changes },
  };
  const path = join(folder, `${Math.random()}.json`);
  writeFileSync(path, JSON.stringify(file));
  return path;
}

test('what begins a text, and which tokens are no text, is as the file says', async () => {
  const tokenizer = await openTokenizer(tinyTokenizer());
  expect([tokenizer.begin, [...(tokenizer.special ?? [])]]).toEqual([[10], [10]]);
  expect([...((await openTokenizer('gpt2')).special ?? [])]).toEqual([50256]);
  const { begin, special } = await openTokenizer('bytes');
  expect([begin, special]).toEqual([undefined, undefined]);
});

test('a beginning that is no ids is refused', async () => {
  const path = tinyTokenizer();
  const file = JSON.parse(readFileSync(path, 'utf8'));
  for (const processor of [{ single: 7 }, { special_tokens: { '<eos>': { ids: ['x'] } } }]) {
    Object.assign(file.post_processor, processor);
    writeFileSync(path, JSON.stringify(file));
    await expect(openTokenizer(path)).rejects.toThrow('tokenizer=');
  }
});

test('bytes and GPT-2 give back any text', async () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 60 });
  for (const name of ['bytes', 'gpt2']) {
    const tokenizer = await openTokenizer(name);
    fc.assert(
      fc.property(text, (text) => {
        const ids = tokenizer.encode(text);
        expect(tokenizer.decode(ids)).toBe(text);
        expect(Array.from(ids).every((id) => id >= 0 && id < tokenizer.vocabularySize)).toBe(true);
      }),
    );
  }
});

test('bytes are UTF-8, and what is no UTF-8 shows as U+FFFD', async () => {
  const { encode, decode, vocabularySize } = await openTokenizer('bytes');
  expect(vocabularySize).toBe(256);
  expect(Array.from(encode('é!'))).toEqual([0xc3, 0xa9, 0x21]);
  expect(decode([0xc3])).toBe('\ufffd');
  expect(decode([65, 256, 66])).toBe('A\ufffdB');
});

test('GPT-2 tokens are those of the published vocabulary', async () => {
  const { encode, decode, vocabularySize } = await openTokenizer('gpt2');
  expect(vocabularySize).toBe(50257);
  expect(encode('Hello, world!')).toEqual([15496, 11, 995, 0]); // as tiktoken and transformers print them
  expect(encode('a<|endoftext|>b')).toEqual([64, 50256, 65]);
  expect(decode([64, 50256, 65])).toBe('a<|endoftext|>b');
});

test('a GPT-2 token that ends amid a character leaves nothing behind for the next call', async () => {
  const { encode, decode } = await openTokenizer('gpt2');
  const [first = 0, second = 0] = encode('“');
  expect(decode([first])).toBe('\ufffd');
  expect(decode([second])).toBe('\ufffd');
  expect(decode([first, second])).toBe('“');
  expect(decode([64, 60000])).toBe('a\ufffd');
});

test('a tokenizer.json encodes as it says, without a beginning-of-sequence token', async () => {
  const tokenizer = await openTokenizer(tinyTokenizer());
  expect(tokenizer.vocabularySize).toBe(11);
  expect(tokenizer.encode('Whale')).toEqual([0, 1, 6, 4]);
  expect(tokenizer.encode('al al<eos>é .')).toEqual([6, 5, 6, 10, 7, 8, 5, 9]);
  expect(tokenizer.decode([6, 5, 6, 10, 7, 8, 5, 9])).toBe('al al<eos>é .');
  expect(tokenizer.decode([])).toBe('');
  expect(tokenizer.decode([7, 11, 6, 99])).toBe('\ufffd\ufffdal\ufffd');
  expect(tokenizer.encode('')).toEqual([]);
});

test('a folder stands for the tokenizer.json in it, and names tell vocabularies apart', async () => {
  const path = tinyTokenizer();
  const other = tinyTokenizer({ merges: [] });
  expect((await openTokenizer(other)).encode('al')).toEqual([2, 3]);
  const names = await Promise.all([path, path, other].map(async (file) => (await openTokenizer(file)).name));
  expect(names[0]).toBe(names[1]);
  expect(names[0]?.split(' ')[1]).not.toBe(names[2]?.split(' ')[1]);
  await expect(openTokenizer(folder)).rejects.toThrow(/can't be read \(ENOENT/);
});

test('text that a tokenizer has no token for is refused by name', async () => {
  const model = { type: 'WordPiece', unk_token: '[UNK]', max_input_chars_per_word: 100, merges: undefined };
  const tokenizer = await openTokenizer(tinyTokenizer(model)); // its vocabulary has no [UNK]
  expect(() => tokenizer.encode('x')).toThrow(UserError);
  expect(() => tokenizer.encode('x')).toThrow(
    /^tokenizer=.* has no token for "\[UNK\]": take one that knows every byte/,
  );
});

test('a missing file, bad JSON and JSON that is no tokenizer are one sentence each', async () => {
  const broken = join(folder, 'broken.json');
  writeFileSync(broken, '{"model":');
  const foreign = join(folder, 'foreign.json');
  writeFileSync(foreign, '{"name": "a package"}');
  const cases: [string, RegExp][] = [
    [join(folder, 'missing.json'), /^tokenizer=.*missing.json is no file: give bytes, gpt2 or the path/],
    [broken, /^tokenizer=.*broken.json doesn't describe a tokenizer \(.*JSON.*\): give a tokenizer.json$/],
    [foreign, /^tokenizer=.*foreign.json doesn't describe a tokenizer/],
    [tinyTokenizer({ merges: undefined }), /doesn't describe a tokenizer/],
  ];
  for (const [path, message] of cases) {
    await expect(openTokenizer(path)).rejects.toThrow(UserError);
    await expect(openTokenizer(path)).rejects.toThrow(message);
  }
});
