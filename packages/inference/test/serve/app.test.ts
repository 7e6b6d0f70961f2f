import { afterAll, beforeAll, expect, test } from 'vitest';
import { bigContext, type Json, jsonOf, letters, type TestServer, testServer } from '../support/test-server.ts';

const CHAT = '/v1/chat/completions';
const question = [{ role: 'user', content: 'Who was Ahab?' }];
let server: TestServer;
beforeAll(async () => {
  server = await testServer();
});
afterAll(() => server.stop(0));

const answerOf = async (body: object): Promise<Json> => jsonOf(await server.post(CHAT, body));

/** The data of all events of a streamed reply. */
async function eventsOf(path: string, body: object): Promise<string[]> {
  const response = await server.post(path, { ...body, stream: true });
  expect(response.headers.get('Content-Type')).toBe('text/event-stream');
  const text = await response.text();
  return text.split('\n\n').flatMap((event) => (event === '' ? [] : [event.replace(/^data: /, '')]));
}

test('a chat has an answer, and says what it took', async () => {
  const answer = await answerOf({ model: 'tiny', messages: question, max_tokens: 5, temperature: 0 });
  expect(answer).toMatchObject({
    ...{
      object: 'chat.completion',
      model: 'tiny',
      usage: { prompt_tokens: 31, completion_tokens: 5, total_tokens: 36 },
    },
    choices: [
      {
        index: 0,
        finish_reason: 'length',
        message: { role: 'assistant', content: expect.stringMatching(/^[a-z]{5}$/) },
      },
    ],
  });
});

test('streamed pieces are the whole answer, between a role and a reason', async () => {
  const body = { messages: question, max_tokens: 9, seed: 4, temperature: 1 };
  const whole = await answerOf(body);
  const events = await eventsOf(CHAT, { ...body, stream_options: { include_usage: true } });
  expect(events.at(-1)).toBe('[DONE]');
  const chunks = events.slice(0, -1).map((event): Json => JSON.parse(event));
  expect(chunks[0]?.choices[0]?.delta).toEqual({ role: 'assistant', content: '', refusal: null });
  expect(chunks.flatMap(({ choices }) => choices.map(({ delta }) => delta.content ?? '')).join('')).toBe(
    whole.choices[0]?.message.content,
  );
  expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe('length');
  expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 9 } });
});

test('the same seed gives the same answers, and choices differ', async () => {
  const body = { messages: question, max_tokens: 12, seed: 7, n: 3 };
  const contents = async () => (await answerOf(body)).choices.map(({ message }) => message.content);
  const [first, second] = [await contents(), await contents()];
  expect(first).toEqual(second);
  expect(new Set(first).size).toBe(3);
});

test('texts: several prompts, as text or as tokens, with log-probabilities', async () => {
  const body = { prompt: ['ab', 'cd'], max_tokens: 3, temperature: 0, logprobs: 2, n: 2 };
  const texts = await jsonOf(await server.post('/v1/completions', body));
  expect(texts.object).toBe('text_completion');
  expect(texts.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
  expect(texts.choices[0]?.text).toBe(texts.choices[1]?.text);
  const [first] = texts.choices;
  if (!first) throw new Error('no choice');
  const { tokens, token_logprobs, top_logprobs, text_offset } = first.logprobs;
  expect(tokens.join('')).toBe(first.text);
  expect(text_offset).toEqual([0, 1, 2]);
  expect(top_logprobs.map((each) => Object.keys(each).length)).toEqual([2, 2, 2]);
  expect(token_logprobs[0]).toBe(top_logprobs[0]?.[tokens[0] ?? '']);
  // The text's tokens, <s> before them.
  const ids = { prompt: [256, 97, 98], max_tokens: 3, temperature: 0 };
  expect((await jsonOf(await server.post('/v1/completions', ids))).choices[0]?.text).toBe(first.text);
});

test("a chat's log-probabilities come with tokens, bytes and the likeliest others", async () => {
  const body = { messages: question, max_tokens: 2, temperature: 0, logprobs: true, top_logprobs: 3 };
  const answer = await answerOf(body);
  const [first] = answer.choices[0]?.logprobs.content ?? [];
  expect(first).toMatchObject({ token: expect.any(String), bytes: [expect.any(Number)] });
  expect(first?.top_logprobs.length).toBe(3);
  expect(first?.logprob).toBeLessThan(0);
});

test.each([
  ['{"prompt', 400, 'The body is not valid JSON', null],
  ['[]', 400, 'Invalid input: expected object, received array', null],
  [{}, 400, 'messages: Invalid input: expected array, received undefined', 'messages'],
  [{ messages: [] }, 400, 'messages: Too small', 'messages'],
  [{ messages: question, temperature: 3 }, 400, 'temperature: Too big: expected number to be <=2', 'temperature'],
  [{ messages: question, n: 0 }, 400, 'n: Too small', 'n'],
  [{ messages: [{ role: 'tool', content: '' }] }, 400, 'messages.0.role: Invalid option', 'messages.0.role'],
  [{ messages: question, tools: [{}] }, 400, 'tools: Calling tools is not supported here: leave it out', 'tools'],
  [{ messages: question, model: 'gpt-9' }, 404, 'There is no model "gpt-9" here: use "tiny"', 'model'],
  [{ messages: [{ role: 'user', content: 'x'.repeat(600) }] }, 400, 'The prompt has 618 tokens, and the context', null],
  [{ messages: [{ role: 'user', content: 'x'.repeat(70_000) }] }, 413, 'The body is longer than 65536 bytes', null],
])('%j is refused', async (body, status, message, param) => {
  const response = await server.post(CHAT, body);
  expect(response.status).toBe(status);
  const { error } = await jsonOf(response);
  expect(error).toMatchObject({ type: 'invalid_request_error', param, message: expect.stringContaining(message) });
});

test('what says nothing is let pass: null, penalties of 0, no tools, labels', async () => {
  const nothing = { temperature: null, stop: null, presence_penalty: 0, tools: [], response_format: { type: 'text' } };
  const response = await server.post(CHAT, { messages: question, max_tokens: 1, user: 'me', ...nothing });
  expect(response.status).toBe(200);
});

test('a body that is not called JSON, an address and a model that are not there', async () => {
  expect((await server.post(CHAT, '{}', { 'Content-Type': 'text/plain' })).status).toBe(415);
  const missing = await fetch(`${server.url}/v1/nothing`);
  expect([missing.status, (await jsonOf(missing)).error.message]).toEqual([404, 'There is no GET /v1/nothing here']);
  expect((await fetch(`${server.url}/v1/models/gpt-9`)).status).toBe(404);
  expect(await jsonOf(await fetch(`${server.url}/v1/models/tiny`))).toMatchObject({ id: 'tiny', object: 'model' });
  expect((await jsonOf(await fetch(`${server.url}/v1/models`))).data.length).toBe(1);
});

test('no other site may read an answer, unless it is named', async () => {
  const origin = { Origin: 'https://elsewhere.example' };
  const closed = await fetch(`${server.url}/v1/models`, { headers: origin });
  expect(closed.headers.get('Access-Control-Allow-Origin')).toBeNull();
  const open = await testServer({ corsOrigins: ['https://elsewhere.example'], apiKey: 'a-long-key' });
  const asked = await fetch(`${open.url}${CHAT}`, {
    method: 'OPTIONS',
    headers: { ...origin, 'Access-Control-Request-Method': 'POST' },
  });
  expect(asked.headers.get('Access-Control-Allow-Origin')).toBe('https://elsewhere.example');
  const other = await fetch(`${open.url}/v1/models`, { headers: { Origin: 'https://third.example' } });
  expect(other.headers.get('Access-Control-Allow-Origin')).toBeNull();
  await open.stop(0);
});

test('with a key, all but the page and the health want it', async () => {
  const locked = await testServer({ apiKey: 'a-long-key' });
  const status = async (path: string, key?: string) =>
    (await fetch(`${locked.url}${path}`, key ? { headers: { Authorization: `Bearer ${key}` } } : {})).status;
  expect(await Promise.all(['/', '/health', '/v1/models', '/metrics'].map((path) => status(path)))).toEqual([
    200, 200, 401, 401,
  ]);
  expect([await status('/v1/models', 'a-long-kex'), await status('/v1/models', 'a-long-key')]).toEqual([401, 200]);
  expect(await status('/metrics', 'a-long-key')).toBe(200);
  expect((await locked.post(CHAT, '{}')).status).toBe(401);
  await locked.stop(0);
});

test('a model without a template goes on from texts, and says that it holds no chats', async () => {
  const plain = await testServer({ template: null });
  expect((await plain.post('/v1/completions', { prompt: 'a', max_tokens: 1 })).status).toBe(200);
  const refused = await plain.post(CHAT, { messages: question });
  expect([refused.status, (await jsonOf(refused)).error.message]).toEqual([
    400,
    expect.stringContaining('model=tiny has no chat template'),
  ]);
  await plain.stop(0);
});

test('more than may wait get 429, and are told to come again', async () => {
  const busy = await testServer({ maxWaiting: 1, fake: { ...bigContext, slots: 1, delay: 5 } });
  const body = { messages: question, max_tokens: 20 };
  const responses = await Promise.all(Array.from({ length: 6 }, () => busy.post(CHAT, body)));
  const refused = responses.filter(({ status }) => status === 429);
  expect(responses.filter(({ status }) => status === 200).length).toBe(6 - refused.length);
  expect(refused.length).toBeGreaterThanOrEqual(4);
  expect(refused[0]?.headers.get('Retry-After')).toBe('1');
  expect((await jsonOf(refused[0] as Response)).error).toMatchObject({ type: 'rate_limit_error', code: 'queue_full' });
  await busy.stop(0);
});

test('a decoder that fails: an error event in a stream that had begun, 503 for others, why in /health', async () => {
  const failing = await testServer({ fake: { ...bigContext, delay: 5 } });
  const response = await failing.post(CHAT, { messages: question, stream: true, temperature: 0 });
  setTimeout(() => {
    failing.decoder.failure = new Error('worker 10.0.0.2:9990 is gone');
  }, 50);
  const text = await response.text();
  expect(text).not.toContain('[DONE]');
  const last = JSON.parse(text.trim().split('\n\n').at(-1)?.replace('data: ', '') ?? '');
  expect(last.error).toMatchObject({ message: 'worker 10.0.0.2:9990 is gone', type: 'server_error' });
  expect((await failing.post(CHAT, { messages: question })).status).toBe(503);
  const health = await fetch(`${failing.url}/health`);
  expect([health.status, (await jsonOf(health)).message]).toEqual([503, 'worker 10.0.0.2:9990 is gone']);
  await failing.stop(0);
});

test('an answer that takes longer than a request may is ended', async () => {
  const slow = await testServer({
    timeout: 100,
    fake: { ...bigContext, delay: 20, bias: (t) => letters(t) - (t > 255 ? 99 : 0) },
  });
  const response = await slow.post(CHAT, { messages: question });
  expect([response.status, (await jsonOf(response)).error.code]).toEqual([504, 'timeout']);
  expect(slow.engine.running).toBe(0);
  await slow.stop(0);
});

test('/metrics counts requests, tokens and time', async () => {
  const fresh = await testServer();
  await (await fresh.post(CHAT, { messages: question, max_tokens: 5, temperature: 0 })).text();
  await (await fresh.post(CHAT, {})).text();
  const text = await (await fetch(`${fresh.url}/metrics`)).text();
  expect(text).toContain('fourfold_requests_total{route="/v1/chat/completions",status="200"} 1');
  expect(text).toContain('fourfold_requests_total{route="/v1/chat/completions",status="400"} 1');
  expect(text).toContain('fourfold_prompt_tokens_total 31');
  expect(text).toContain('fourfold_answer_tokens_total 4');
  expect(text).toContain('fourfold_time_to_first_token_seconds_count 1');
  expect(text).toMatch(/fourfold_transfer_seconds_sum 0\.00125/);
  await fresh.stop(0);
});
