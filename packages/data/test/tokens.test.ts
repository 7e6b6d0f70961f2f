import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, expect, test } from 'vitest';
import { openCorpus } from '../src/corpora.ts';
import { openTokenizer, type Tokenizer } from '../src/tokenizers.ts';
import { checkVocabulary, openTokens } from '../src/tokens.ts';

const root = mkdtempSync(join(tmpdir(), 'fourfold-tokens-'));
afterAll(() => rmSync(root, { recursive: true }));

const TEXT = 'Call me Ishmael. Some years ago—never mind how long precisely\n'.repeat(50);

/** A text on disk, a cache of its own, and how often the tokenizer was asked. */
async function setUp(spec = 'bytes', contents = TEXT) {
  const folder = mkdtempSync(join(root, 'case-'));
  const path = join(folder, 'text.txt');
  const cache = join(folder, 'cache');
  writeFileSync(path, contents);
  const tokenizer = await openTokenizer(spec);
  const calls = { encode: 0 };
  const counting: Tokenizer = {
    ...tokenizer,
    encode: (text) => {
      calls.encode++;
      return tokenizer.encode(text);
    },
  };
  const open = async (validationFraction = 0.1) =>
    openTokens({ corpus: await openCorpus(path), tokenizer: counting, validationFraction, cache });
  const cached = () => join(cache, 'tokens', readdirSync(join(cache, 'tokens'))[0] ?? '');
  return { path, cache, open, calls, cached, tokenizer };
}

const allOf = (tokens: { count: number; read(start: number, count: number): Int32Array }) =>
  Array.from(tokens.read(0, tokens.count));

test('both parts hold the tokens and the bytes of their text', async () => {
  for (const name of ['bytes', 'gpt2']) {
    const { open, tokenizer } = await setUp(name);
    const text = await open();
    const [train, validation] = [allOf(text.train), allOf(text.validation)];
    expect(tokenizer.decode(train) + tokenizer.decode(validation)).toBe(TEXT);
    expect(text.train.bytes).toBe(Buffer.byteLength(tokenizer.decode(train)));
    expect(text.validation.bytes).toBe(Buffer.byteLength(tokenizer.decode(validation)));
    expect(text.validation.bytes).toBe(Buffer.byteLength(TEXT) / 10);
    expect(text.largestId).toBe(Math.max(...train, ...validation));
    text.close();
  }
});

test('a slice is what it is in the whole, and one beyond the end is refused', async () => {
  const { open } = await setUp('gpt2');
  const { train, validation } = await open();
  const all = allOf(train);
  expect(Array.from(train.read(17, 30))).toEqual(all.slice(17, 47));
  expect(train.read(train.count, 0).length).toBe(0);
  expect(() => train.read(train.count - 3, 4)).toThrow(RangeError); // though the validation part follows in the file
  expect(() => validation.read(-1, 2)).toThrow(RangeError);
});

test('ids take two bytes up to a vocabulary of 65536, and four beyond', async () => {
  const { path, cache } = await setUp();
  const corpus = await openCorpus(path);
  for (const [vocabularySize, idBytes] of [
    [65536, 2],
    [65537, 4],
  ] as const) {
    const last = vocabularySize - 1;
    const folder = join(cache, `${vocabularySize}`);
    const tokenizer: Tokenizer = { name: 'one', vocabularySize, encode: () => [1, last], decode: () => '' };
    const text = await openTokens({ corpus, tokenizer, cache: folder });
    expect(allOf(text.train)).toEqual([1, last]);
    expect(allOf(text.validation)).toEqual([1, last]);
    const file = readdirSync(join(folder, 'tokens'))[0] ?? '';
    expect(readFileSync(join(folder, 'tokens', file)).length).toBe(512 + 4 * idBytes);
  }
});

test('a second opening takes the tokens from the disk', async () => {
  const { open, calls } = await setUp();
  const first = allOf((await open()).train);
  const asked = calls.encode;
  expect(allOf((await open()).train)).toEqual(first);
  expect(calls.encode).toBe(asked);
});

test('another text, date or validation fraction makes other tokens', async () => {
  const { open, path } = await setUp();
  const before = await open();
  const half = await open(0.5);
  expect(half.validation.count).toBe(before.train.count + before.validation.count - half.train.count);
  expect(half.validation.count).toBe(Buffer.byteLength(TEXT) / 2);
  writeFileSync(path, TEXT.replaceAll('Ishmael', 'Starbuc')); // the same length
  const after = await open();
  expect(Buffer.from(allOf(after.train)).toString().startsWith('Call me Starbuc.')).toBe(true);
  // Whoever has the old tokens open keeps them.
  expect(Buffer.from(allOf(before.train)).toString().startsWith('Call me Ishmael.')).toBe(true);
});

test('a file that is damaged anywhere is made anew', async () => {
  const { open, cached, calls } = await setUp();
  (await open()).close();
  const path = cached();
  const good = readFileSync(path);
  const flipped = (at: number) => {
    const bytes = Buffer.from(good);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    return bytes;
  };
  const digit = good.indexOf('"largestId":') + 12;
  const damages: [string, Buffer][] = [
    ['emptied', Buffer.alloc(0)],
    ['cut in its header', good.subarray(0, 100)],
    ['cut behind its header', good.subarray(0, 512)],
    ['one byte short', good.subarray(0, -1)],
    ['one byte too long', Buffer.concat([good, Buffer.alloc(1)])],
    ['one bit of an id', flipped(1000)],
    ['one bit of its counts', flipped(digit)],
    ['something else', Buffer.from('{"header":{"train":{"count":1e300}}}'.padEnd(600))],
    ['null', Buffer.from('null'.padEnd(600))],
  ];
  for (const [name, damaged] of damages) {
    writeFileSync(path, damaged);
    const asked = calls.encode;
    (await open()).close();
    expect(calls.encode, name).toBeGreaterThan(asked);
    expect(readFileSync(path).equals(good), name).toBe(true);
  }
});

test('a file cut while it is read is an error, not zeros', async () => {
  const { open, cached } = await setUp();
  const { train } = await open();
  truncateSync(cached(), 600);
  expect(() => train.read(0, 200)).toThrow('became shorter');
});

test('two processes that tokenize the same text at once both read it right', async () => {
  const { path, cache, cached } = await setUp('gpt2', TEXT.repeat(100));
  const source = new URL('../src/index.ts', import.meta.url).href;
  const program = `import { openCorpus, openTokenizer, openTokens } from '${source}';
    const [path, cache] = process.argv.slice(1);
    const tokenizer = await openTokenizer('gpt2');
    const { train } = await openTokens({ corpus: await openCorpus(path), tokenizer, cache });
    console.log(train.count, tokenizer.decode(train.read(train.count - 20, 20)));`;
  const run = () =>
    promisify(execFile)(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program, path, cache]);
  const [one, two] = await Promise.all([run(), run()]);
  expect(one.stdout).toBe(two.stdout);
  expect(one.stdout).toContain('years ago—never mind how long precisely\n');
  expect(readdirSync(join(cache, 'tokens')).length).toBe(1);
  expect(readFileSync(cached()).length).toBeGreaterThan(512);
});

test('when the text cannot be tokenized nothing is kept', async () => {
  const { open, cache, path } = await setUp();
  writeFileSync(path, Buffer.from([0x41, 0xff, 0x42]));
  await expect(open()).rejects.toThrow(UserError);
  expect(readdirSync(join(cache, 'tokens'))).toEqual([]);
});

test('a model with too small a vocabulary is told the size that would do', async () => {
  const { open, tokenizer } = await setUp('gpt2');
  const text = await open();
  expect(() => checkVocabulary(text, tokenizer, text.largestId + 1)).not.toThrow();
  expect(() => checkVocabulary(text, tokenizer, 300)).toThrow(UserError);
  expect(() => checkVocabulary(text, tokenizer, 300)).toThrow(
    `vocabulary=300 is too small for token ${text.largestId} of tokenizer gpt2: use at least 50257`,
  );
});
