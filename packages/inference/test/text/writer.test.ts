import { expect, test } from 'vitest';
import { Engine } from '../../src/engine/engine.ts';
import { greedy } from '../../src/sampler.ts';
import { type Piece, type TextRequest, write, writeAll } from '../../src/text/writer.ts';
import { fakeDecoder } from '../support/fake-decoder.ts';
import { END, TURN, tinyVocabulary } from '../support/tiny-text.ts';

const PROMPT = [65, 66];

/** A decoder that writes these tokens after the prompt, and then the letter z. */
const saying = (tokens: readonly number[]) => {
  const wanted = (length: number): number => tokens[length - PROMPT.length] ?? 122;
  return fakeDecoder({ bias: (token, length) => (token === wanted(length) ? 100 : 0) });
};

const request = (more: Partial<TextRequest> = {}): TextRequest => ({
  ...{ prompt: PROMPT, maxTokens: 20, sampling: greedy, stop: [], goesOn: false },
  ...more,
});

async function pieces(tokens: readonly number[], more: Partial<TextRequest> = {}): Promise<Piece[]> {
  const all: Piece[] = [];
  const engine = new Engine(saying(tokens));
  for await (const piece of write(engine, await tinyVocabulary(), request(more))) all.push(piece);
  expect(engine.running).toBe(0);
  return all;
}

const bytesOf = (text: string): number[] => [...Buffer.from(text)];

test('a text comes in whole characters, and what ends it is not shown', async () => {
  const all = await pieces([...bytesOf('hé'), TURN, END]);
  expect(all.map(({ text }) => text)).toEqual(['h', 'é', '']);
  expect(all.map(({ tokens }) => tokens.length)).toEqual([1, 2, 1]);
  expect(all.at(-1)).toMatchObject({ finish: 'stop', computed: 5 });
});

test('as many tokens as were asked for, and a character that they cut', async () => {
  const whole = await writeAll(
    write(new Engine(saying(bytesOf('hé'))), await tinyVocabulary(), request({ maxTokens: 2 })),
  );
  expect(whole).toMatchObject({ text: 'h\ufffd', finish: 'length', computed: 2 });
});

test('a text ends before a stop string that spans tokens, and computes no further', async () => {
  const all = await pieces(bytesOf('one\n\nUser: two'), { stop: ['\n\nUser:'] });
  expect(all.map(({ text }) => text).join('')).toBe('one');
  expect(all.at(-1)).toMatchObject({ finish: 'stop', computed: 10 });
});

test('what may have begun a stop is shown when the text is over', async () => {
  const all = await pieces([...bytesOf('one\n\nUse'), END], { stop: ['\n\nUser:'] });
  expect(all.map(({ text }) => text).join('')).toBe('one\n\nUse');
  expect(all.at(-1)?.finish).toBe('stop');
});

test('a text may go on over what would end it', async () => {
  const all = await pieces([97, END, 98], { endsItself: false, maxTokens: 3 });
  expect(all.map(({ text }) => text).join('')).toBe('ab');
  expect(all.at(-1)).toMatchObject({ finish: 'length', computed: 3 });
});
