import { expect, test } from 'vitest';
import { byteCharacters, tokenizerJson } from '../src/tokenizer-json.ts';
import { openTokenizer, tokenizerFrom } from '../src/tokenizers.ts';

const TEXT = "Call me Ishmael. It's 1851:\n\n\t\u201cwh\u00e9le\u201d \u{1f433}  \u0000 <|endoftext|>The end";

test('every byte has a character of its own, those that show their own', () => {
  const characters = byteCharacters();
  expect(new Set(characters).size).toBe(256);
  expect(characters[0x41]).toBe('A');
  expect(characters[0x20]).toBe('\u0120');
  expect(characters[0x0a]).toBe('\u010a');
});

test.each(['bytes', 'gpt2'])('%s as a tokenizer.json gives the same ids and the text back', async (spec) => {
  const [own, described] = [
    await openTokenizer(spec),
    await tokenizerFrom('tokenizer.json', await tokenizerJson(spec)),
  ];
  expect(described.vocabularySize).toBe(own.vocabularySize);
  expect([...described.encode(TEXT)]).toEqual([...own.encode(TEXT)]);
  expect(described.decode(own.encode(TEXT.replace('<|endoftext|>', '')))).toBe(TEXT.replace('<|endoftext|>', ''));
});

test("gpt2's merges are the 50,000 that make its tokens, in their order", async () => {
  const { model } = JSON.parse(await tokenizerJson('gpt2'));
  expect(model.merges).toHaveLength(50_000);
  expect(model.merges.slice(0, 4)).toEqual(['\u0120 t', '\u0120 a', 'h e', 'i n']); // as GPT-2's merges.txt begins
});
