import { openTokenizer, type Tokenizer } from '@fourfold/data';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Detokenizer } from '../../src/text/detokenizer.ts';
import { END, sentencePieces, tinyVocabulary } from '../support/tiny-text.ts';

/** The text said after each token, and what the end adds. */
function said(tokenizer: Tokenizer, ids: readonly number[], before?: readonly number[]): string[] {
  const text = new Detokenizer(tokenizer, before);
  return [...ids.map((id) => text.push(id)), text.end()];
}

const bytesOf = (text: string): number[] => [...Buffer.from(text)];

test('a character is said when its last byte has come', async () => {
  const { tokenizer } = await tinyVocabulary();
  expect(said(tokenizer, bytesOf('aé🐋'))).toEqual(['a', '', 'é', '', '', '', '🐋', '']);
});

test('a character that is never finished is U+FFFD, when what comes next or the end tells', async () => {
  const { tokenizer } = await tinyVocabulary();
  expect(said(tokenizer, [0xf0, 0x9f, 0x41])).toEqual(['', '', '\ufffdA', '']);
  expect(said(tokenizer, [0x41, 0xf0, 0x9f])).toEqual(['A', '', '', '\ufffd']);
});

test('special tokens have no text', async () => {
  const { tokenizer } = await tinyVocabulary();
  expect(said(tokenizer, [0x41, END, 0xc3, END, 0xa9])).toEqual(['A', '', '', '', 'é', '']);
});

test("a text that goes on has its first word's space, and one of its own has none", async () => {
  const pieces = await sentencePieces();
  const [a, ab] = [...pieces.encode('a ab')];
  expect(said(pieces, [a as number, ab as number])).toEqual(['a', ' ab', '']);
  expect(said(pieces, [ab as number], [a as number])).toEqual([' ab', '']);
});

test('a prompt that ends amid a character goes on in it', async () => {
  const { tokenizer } = await tinyVocabulary();
  expect(said(tokenizer, [0xa9, 0x21], [0x41, 0xc3])).toEqual(['é', '!', '']);
});

const tokenizers: [string, () => Promise<Tokenizer>][] = [
  ['bytes', async () => (await tinyVocabulary()).tokenizer],
  ['gpt2', () => openTokenizer('gpt2')],
  ['pieces and bytes', sentencePieces],
];

test.each(tokenizers)('%s: any tokens, said one by one, are the text of all together', async (_, open) => {
  const tokenizer = await open();
  const isText = (id: number): boolean => !tokenizer.special?.has(id);
  const id = fc.nat(tokenizer.vocabularySize - 1).filter(isText);
  fc.assert(
    fc.property(fc.array(id, { maxLength: 50 }), (ids) => {
      expect(said(tokenizer, ids).join('')).toBe(tokenizer.decode(ids));
    }),
    { numRuns: 300 },
  );
});

test.each(tokenizers)('%s: of any text nothing is ever said that is no part of it', async (_, open) => {
  const tokenizer = await open();
  const text = fc.string({ unit: 'grapheme', maxLength: 30 }).filter((each) => !each.includes('\ufffd'));
  fc.assert(
    fc.property(text, (text) => {
      const parts = said(tokenizer, [...tokenizer.encode(text)]);
      expect(parts.join('')).toBe(tokenizer.decode(tokenizer.encode(text)));
      expect(parts.join('')).not.toContain('\ufffd');
    }),
    { numRuns: 300 },
  );
});

test('thousands of bytes that are no text are said as they come, in linear time', async () => {
  const { tokenizer } = await tinyVocabulary();
  const parts = said(tokenizer, Array<number>(5000).fill(0x80));
  expect(parts.join('')).toBe('\ufffd'.repeat(5000));
  expect(parts.slice(0, 100).join('').length).toBeGreaterThan(90);
});
