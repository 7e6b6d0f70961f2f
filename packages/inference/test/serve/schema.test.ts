import { expect, test } from 'vitest';
import { chatSchema, completionSchema } from '../../src/serve/schema.ts';

const messages = [{ role: 'user', content: 'Hi' }];

test('text parts are one text, and developers speak as the system', () => {
  const parts = [
    { type: 'text', text: 'a' },
    { type: 'text', text: 'b' },
  ];
  const { messages } = chatSchema.parse({ messages: [{ role: 'developer', content: parts }] });
  expect(messages).toEqual([{ role: 'system', content: 'ab' }]);
});

test('null is what is not given', () => {
  const { temperature, stop, n } = chatSchema.parse({ messages, temperature: null, stop: null });
  expect([temperature, stop, n]).toEqual([undefined, undefined, undefined]);
});

test('one stop or several are a list', () => {
  expect(chatSchema.parse({ messages, stop: 'a' }).stop).toEqual(['a']);
  expect(chatSchema.parse({ messages, stop: ['a', 'b'] }).stop).toEqual(['a', 'b']);
});

test('one prompt or several, texts or tokens, are a list of them', () => {
  const promptOf = (prompt: unknown) => completionSchema.parse({ prompt }).prompt;
  expect([promptOf('a'), promptOf(['a', 'b']), promptOf([1, 2]), promptOf([[1], [2]])]).toEqual([
    ...[['a'], ['a', 'b'], [[1, 2]], [[1], [2]]],
  ]);
});

test.each([
  [{ temperature: -1 }],
  [{ temperature: Number.NaN }],
  [{ top_p: 0 }],
  [{ max_tokens: 0 }],
  [{ max_tokens: 1.5 }],
  [{ n: 17 }],
  [{ seed: 'x' }],
  [{ top_logprobs: 21 }],
  [{ logit_bias: { x: 1 } }],
  [{ logit_bias: { 1: 101 } }],
  [{ presence_penalty: 0.5 }],
  [{ functions: [{}] }],
  [{ response_format: { type: 'json_object' } }],
  [{ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: '' }] }] }],
  [{ messages: [{ role: 'user' }] }],
])('%j is refused', (more) => {
  expect(chatSchema.safeParse({ messages }).success).toBe(true);
  expect(chatSchema.safeParse({ messages, ...more }).success).toBe(false);
});

test.each([[{ echo: true }], [{ best_of: 2 }], [{ suffix: 'x' }], [{ prompt: [] }], [{ prompt: [-1] }]])(
  'of texts %j is refused',
  (more) => {
    expect(completionSchema.safeParse({ prompt: 'a', echo: false, best_of: 1 }).success).toBe(true);
    expect(completionSchema.safeParse({ prompt: 'a', ...more }).success).toBe(false);
  },
);
