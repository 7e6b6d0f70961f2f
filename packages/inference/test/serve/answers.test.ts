import { expect, test } from 'vitest';
import { Engine } from '../../src/engine/engine.ts';
import { type Asked, startAnswers } from '../../src/serve/answers.ts';
import { completionSchema } from '../../src/serve/schema.ts';
import { type FakeDecoder, fakeDecoder } from '../support/fake-decoder.ts';
import { letters } from '../support/test-server.ts';
import { tinyVocabulary } from '../support/tiny-text.ts';

const asked: Asked = { prompts: [[1], [2]], maxTokens: 6, alternatives: 0, wantsLogprobs: false, goesOn: true };

async function answersOf(decoder: FakeDecoder, more: object, maxWaiting = 64) {
  const engine = new Engine(decoder, { maxWaiting });
  const body = completionSchema.parse({ prompt: 'x', ...more });
  const signal = new AbortController().signal;
  return { engine, pieces: startAnswers(engine, await tinyVocabulary(), body, asked, signal) };
}

const calm = { bias: (token: number) => letters(token) - (token > 255 ? 99 : 0) };

test('each prompt has its answers, numbered, and they come beside one another', async () => {
  const { pieces } = await answersOf(fakeDecoder(calm), { n: 2, seed: 1 });
  const order: number[] = [];
  const texts = ['', '', '', ''];
  for await (const { choice, text } of pieces) {
    order.push(choice);
    texts[choice] += text;
  }
  expect(texts.map(({ length }) => length)).toEqual([6, 6, 6, 6]);
  expect(new Set(texts).size).toBe(4);
  expect(order.slice(0, 4).sort()).toEqual([0, 1, 2, 3]);
});

test('who stops reading ends all of them', async () => {
  const { engine, pieces } = await answersOf(fakeDecoder(calm), { n: 2 });
  for await (const _ of pieces) break;
  expect([engine.running, engine.waiting]).toEqual([0, 0]);
});

test('where one of them finds no place, none runs', async () => {
  const decoder = fakeDecoder({ ...calm, slots: 1 });
  await expect(answersOf(decoder, { n: 2 }, 3)).rejects.toThrow('3 requests are waiting already');
  expect(decoder.steps).toEqual([]);
});
