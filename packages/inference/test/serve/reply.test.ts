import { expect, test } from 'vitest';
import type { ChoicePiece } from '../../src/serve/answers.ts';
import { createMetrics } from '../../src/serve/metrics.ts';
import { type Reply, streamedReply, wholeReply } from '../../src/serve/reply.ts';
import { completionShape } from '../../src/serve/shapes.ts';
import { tinyVocabulary } from '../support/tiny-text.ts';

const chosen = (token: number) => ({ token, logProbability: -token / 100, alternatives: [] });

/** Two answers, whose pieces come in turns. */
async function* twoAnswers(): AsyncGenerator<ChoicePiece, void> {
  yield { choice: 0, text: 'a', tokens: [chosen(97)], computed: 1 };
  yield { choice: 1, text: 'x', tokens: [chosen(120)], computed: 1 };
  yield { choice: 0, text: 'b', tokens: [chosen(98)], computed: 3, finish: 'stop' };
  yield { choice: 1, text: '', tokens: [], computed: 1, finish: 'length' };
}

async function* failing(): AsyncGenerator<ChoicePiece, void> {
  yield { choice: 0, text: 'a', tokens: [chosen(97)], computed: 1 };
  throw new Error('a defect');
}

async function replyOf(pieces: Reply['pieces'], more: Partial<Reply> = {}): Promise<Reply> {
  const { tokenizer } = await tinyVocabulary();
  return {
    ...{ shape: completionShape, model: 'tiny', tokenizer, pieces, choices: 2, promptTokens: 5 },
    ...{ wantsLogprobs: true, wantsUsage: true, metrics: createMetrics(), onError: () => {} },
    ...more,
  };
}

test('a whole reply has each answer put together', async () => {
  expect(await wholeReply(await replyOf(twoAnswers()))).toMatchObject({
    ...{ object: 'text_completion', model: 'tiny' },
    choices: [
      {
        ...{ index: 0, text: 'ab', finish_reason: 'stop' },
        logprobs: { tokens: ['a', 'b'], token_logprobs: [-0.97, -0.98], text_offset: [0, 1] },
      },
      { index: 1, text: 'x', finish_reason: 'length', logprobs: { tokens: ['x'] } },
    ],
    usage: { prompt_tokens: 5, completion_tokens: 4, total_tokens: 9 },
  });
});

test('events are the pieces in their order, usage, and the end', async () => {
  const text = await streamedReply(await replyOf(twoAnswers(), { wantsLogprobs: false })).text();
  const events = text.trim().split('\n\n');
  expect(events.at(-1)).toBe('data: [DONE]');
  const chunks = events.slice(0, -1).map((event) => JSON.parse(event.slice(6)));
  expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
  expect(chunks.map(({ choices }) => choices[0]?.text)).toEqual(['a', 'x', 'b', '', undefined]);
  expect(chunks.map(({ usage }) => usage?.total_tokens)).toEqual([undefined, undefined, undefined, undefined, 9]);
});

test('what fails amid a stream is its last event, and the log hears of it', async () => {
  const heard: unknown[] = [];
  const reply = await replyOf(failing(), { choices: 1, onError: (error) => heard.push(error) });
  const events = (await streamedReply(reply).text()).trim().split('\n\n');
  expect(events.length).toBe(2);
  expect(JSON.parse(events[1]?.slice(6) ?? '').error).toMatchObject({ code: 'internal_error' });
  expect(heard).toMatchObject([{ message: 'a defect' }]);
});
