import { expect, test } from 'vitest';
import { chatShape, completionShape, usageOf } from '../../src/serve/shapes.ts';
import { tinyVocabulary } from '../support/tiny-text.ts';

const scored = (token: number, logProbability: number) => ({ token, logProbability });
const piece = {
  ...{ text: 'é', computed: 2 },
  tokens: [
    { ...scored(0xc3, -1), alternatives: [scored(0xc3, -1), scored(0xc4, -2)] },
    { ...scored(0xa9, -0.5), alternatives: [scored(0x61, -0.25), scored(0xa9, -0.5)] },
  ],
};

test("a chat's token that is half a character has no bytes to tell", async () => {
  const { tokenizer } = await tinyVocabulary();
  expect(chatShape.logprobs(tokenizer, piece, 0)).toMatchObject({
    content: [
      { token: '\ufffd', logprob: -1, bytes: null },
      { logprob: -0.5, top_logprobs: [{ token: 'a', logprob: -0.25, bytes: [97] }, { bytes: null }] },
    ],
  });
});

test("a text's lists run side by side, and of tokens that look alike the likelier is told", async () => {
  const { tokenizer } = await tinyVocabulary();
  expect(completionShape.logprobs(tokenizer, piece, 10)).toEqual({
    ...{ tokens: ['\ufffd', '\ufffd'], token_logprobs: [-1, -0.5], text_offset: [10, 11] },
    top_logprobs: [{ '\ufffd': -1 }, { a: -0.25, '\ufffd': -0.5 }],
  });
});

test('a chunk without text has an empty delta', () => {
  expect(chatShape.chunkChoice(1, '', 'stop', null)).toEqual({
    ...{ index: 1, delta: {}, logprobs: null, finish_reason: 'stop' },
  });
  expect(usageOf(3, 4)).toEqual({ prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 });
});
