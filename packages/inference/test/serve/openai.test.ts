/** OpenAI's own client for JavaScript against a server. */
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestServer, testServer } from '../support/test-server.ts';

const messages = [{ role: 'user' as const, content: 'Who was Ahab?' }];
let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  server = await testServer({ apiKey: 'a-long-key' });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'a-long-key', maxRetries: 0 });
});
afterAll(() => server.stop(0));

const create = (more: Partial<OpenAI.ChatCompletionCreateParamsNonStreaming> = {}) =>
  client.chat.completions.create({ model: 'tiny', messages, max_tokens: 8, temperature: 0, ...more });
const contentOf = async (...more: Parameters<typeof create>) =>
  (await create(...more)).choices[0]?.message.content ?? '';

test('models', async () => {
  const ids: string[] = [];
  for await (const { id } of client.models.list()) ids.push(id);
  expect(ids).toEqual(['tiny']);
  expect((await client.models.retrieve('tiny')).object).toBe('model');
});

test('a chat, whole and streamed, is the same', async () => {
  const whole = await contentOf();
  expect(whole).toMatch(/^[a-z]{8}$/);
  const stream = await client.chat.completions.create({
    ...{ model: 'tiny', messages, max_tokens: 8, temperature: 0, stream: true },
    stream_options: { include_usage: true },
  });
  let [text, finish, total] = ['', '', 0];
  for await (const { choices, usage } of stream) {
    text += choices[0]?.delta.content ?? '';
    finish = choices[0]?.finish_reason ?? finish;
    total = usage?.total_tokens ?? total;
  }
  expect([text, finish, total]).toEqual([whole, 'length', 39]);
});

test("the client's own stream helper puts a message together", async () => {
  const final = client.chat.completions.stream({ model: 'tiny', messages, max_tokens: 8, temperature: 0 });
  expect(await final.finalContent()).toBe(await contentOf());
});

test('a stop string ends the text before it', async () => {
  const whole = await contentOf();
  const answer = await create({ stop: whole.slice(3, 5) });
  expect(answer.choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: whole.slice(0, 3) } });
  expect((await create({ stop: ['nowhere!', whole.slice(5)] })).choices[0]?.message.content).toBe(whole.slice(0, 5));
});

test('several answers, each by the seed', async () => {
  const ask = async (seed: number) => {
    const { choices } = await create({ n: 3, temperature: 1, seed });
    return choices.map(({ message }) => message.content);
  };
  const [first, again, other] = [await ask(1), await ask(1), await ask(2)];
  expect(first).toEqual(again);
  expect(new Set([...first, ...other]).size).toBe(6);
});

test('log-probabilities', async () => {
  const { choices } = await create({ logprobs: true, top_logprobs: 2 });
  const content = choices[0]?.logprobs?.content ?? [];
  expect(content.map(({ token }) => token).join('')).toBe(choices[0]?.message.content);
  for (const { logprob, top_logprobs } of content) expect(top_logprobs[0]?.logprob).toBe(logprob);
});

test('a text goes on', async () => {
  const text = await client.completions.create({ model: 'tiny', prompt: 'Call me', max_tokens: 4, temperature: 0 });
  expect(text.choices[0]?.text.length).toBe(4);
});

test('the client may break a stream off', async () => {
  const stream = await client.chat.completions.create({ model: 'tiny', messages, temperature: 0, stream: true });
  for await (const _ of stream) break;
  while (server.engine.running > 0) await new Promise((resolve) => setTimeout(resolve, 5));
});

test('errors are of the classes that the client has for them', async () => {
  const wrong = (more: object) => create(more as never);
  await expect(wrong({ model: 'gpt-9' })).rejects.toThrow(OpenAI.NotFoundError);
  await expect(wrong({ temperature: 9 })).rejects.toThrow(OpenAI.BadRequestError);
  await expect(wrong({ temperature: 9 })).rejects.toMatchObject({
    param: 'temperature',
    type: 'invalid_request_error',
  });
  const stranger = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'another-key', maxRetries: 0 });
  await expect(stranger.models.list()).rejects.toThrow(OpenAI.AuthenticationError);
});
