import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { type Corpus, openCorpus } from '../src/corpora.ts';
import { partTexts, piecesOf, type Span } from '../src/pieces.ts';
import { openTokenizer } from '../src/tokenizers.ts';

const root = mkdtempSync(join(tmpdir(), 'fourfold-pieces-'));
afterAll(() => rmSync(root, { recursive: true }));

let written = 0;
function corpusOf(...texts: (string | Buffer)[]): Promise<Corpus> {
  const paths = texts.map((text) => {
    const path = join(root, `${written++}.txt`);
    writeFileSync(path, text);
    return path;
  });
  return openCorpus(paths.join(','));
}

const whole = (corpus: Corpus): Span[] => corpus.files.map(({ path, bytes }) => ({ path, start: 0, end: bytes }));
const joined = (spans: Span[], size?: number) => [...piecesOf(spans, size)].map((piece) => piece.text).join('');

test('pieces of any size join to the text, and count its bytes', async () => {
  const lines = fc.array(fc.string({ unit: 'grapheme', maxLength: 30 }), { minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(lines, fc.integer({ min: 8, max: 60 }), async (lines, size) => {
      const text = `${lines.join('\n')}.`;
      const corpus = await corpusOf(text);
      const pieces = [...piecesOf(whole(corpus), size)];
      expect(pieces.map((piece) => piece.text).join('')).toBe(text);
      for (const piece of pieces) expect(piece.bytes).toBe(Buffer.byteLength(piece.text));
      for (const piece of pieces) expect(piece.bytes).toBeLessThanOrEqual(size);
    }),
  );
});

test('pieces cut at lines and words have the very GPT-2 tokens of the whole text', async () => {
  const gpt2 = await openTokenizer('gpt2');
  // Words with blank lines, indents and trailing spaces among them: what an encoder looks ahead for.
  const gap = fc.constantFrom(' ', ' ', '\n', '\n\n', '  ', '\n  ', ' \n', '\r\n');
  const word = fc.tuple(fc.lorem({ mode: 'words', maxCount: 1 }), gap).map((pair) => pair.join(''));
  await fc.assert(
    fc.asyncProperty(fc.array(word, { minLength: 60, maxLength: 120 }), async (words) => {
      const text = words.join('').concat('end');
      const pieces = [...piecesOf(whole(await corpusOf(text)), 120)];
      fc.pre(pieces.slice(1).every((piece, i) => /\S\n$/.test(pieces[i]?.text ?? '') || /^ \S/.test(piece.text)));
      expect(pieces.length).toBeGreaterThan(1);
      expect(pieces.flatMap((piece) => Array.from(gpt2.encode(piece.text)))).toEqual(Array.from(gpt2.encode(text)));
    }),
  );
});

test('the last tenth, from the start of its line, is for validation', async () => {
  const text = 'nine letters\n'.repeat(100);
  const { train, validation } = partTexts(await corpusOf(text), 0.1);
  expect(joined(train)).toBe('nine letters\n'.repeat(90));
  expect(joined(validation)).toBe('nine letters\n'.repeat(10));
  const odd = partTexts(await corpusOf(text), 0.105); // byte 1163 is in line 90 (counted from 0)
  expect(joined(odd.validation)).toBe('nine letters\n'.repeat(11));
});

test('the cut may fall in any of several files, between two, in a text of one line, or nowhere', async () => {
  const three = await corpusOf('a\nb\nc\n', 'd\ne\nf\n', 'g\nh\ni\n'); // 18 bytes
  const partsOf = (corpus: Corpus, fraction: number) => {
    const { train, validation } = partTexts(corpus, fraction);
    return [joined(train), joined(validation)];
  };
  expect(partsOf(three, 0.2)).toEqual(['a\nb\nc\nd\ne\nf\ng\n', 'h\ni\n']);
  expect(partsOf(three, 1 / 3)).toEqual(['a\nb\nc\nd\ne\nf\n', 'g\nh\ni\n']);
  expect(partsOf(three, 0.8)).toEqual(['a\n', 'b\nc\nd\ne\nf\ng\nh\ni\n']);
  expect(partsOf(three, 0)).toEqual(['a\nb\nc\nd\ne\nf\ng\nh\ni\n', '']);
  expect(partsOf(await corpusOf('éééééééééé'), 0.15)).toEqual(['éééééééé', 'éé']); // byte 17 is amid the ninth é
});

test('text without a single line end between visible characters is cut at a word, or else at a character', async () => {
  const cuts = async (text: string) => [...piecesOf(whole(await corpusOf(text)), 12)].map((piece) => piece.text);
  expect(await cuts('one two three four')).toEqual(['one two', ' three four']);
  expect(await cuts('a b\n\nc  d\r\n efgh')).toEqual(['a', ' b\n\nc  d\r\n ', 'efgh']);
  expect(await cuts('ααααααααα')).toEqual(['ααααα', 'αααα']); // 2 bytes each; the cut lies before a character's start
});

test('a byte order mark and carriage returns are kept', async () => {
  expect(joined(whole(await corpusOf('\ufeffone\r\ntwo\r\n')))).toBe('\ufeffone\r\ntwo\r\n');
});

test('a file that is no UTF-8 is refused by name', async () => {
  const spans = whole(await corpusOf(Buffer.from('caf\xe9 au lait', 'latin1')));
  expect(() => joined(spans)).toThrow(UserError);
  expect(() => joined(spans)).toThrow(/^data=.*\.txt isn't UTF-8 text \(between bytes 0 and 12\): convert it/);
});

test('a file that became shorter meanwhile is refused', async () => {
  const corpus = await corpusOf('a text');
  writeFileSync(corpus.files[0]?.path ?? '', '');
  expect(() => joined(whole(corpus))).toThrow(/became shorter while it was read/);
});
