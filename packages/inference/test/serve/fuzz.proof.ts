/**
 * Ten thousand requests of all kinds, sound and unsound: each gets a status that fits it, and nothing stays behind.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chatSchema, completionSchema } from '../../src/serve/schema.ts';
import { bigContext, letters, testServer } from '../support/test-server.ts';

const REQUESTS = 10_000;
const AT_ONCE = 50;

const odd = fc.oneof(fc.anything({ maxDepth: 2 }), fc.constantFrom(null, -1, 0, 1, 1e308, '', 'x', [], {}));
const mostly = <T>(sound: fc.Arbitrary<T>) => fc.oneof({ weight: 12, arbitrary: sound }, { weight: 1, arbitrary: odd });
const maybe = <T>(sound: fc.Arbitrary<T>) => fc.option(mostly(sound), { nil: undefined, freq: 2 });
const text = fc.string({ unit: 'binary', maxLength: 40 });

const common = {
  max_tokens: mostly(fc.integer({ min: 1, max: 6 })),
  temperature: maybe(fc.double({ min: 0, max: 2, noNaN: true })),
  top_p: maybe(fc.double({ min: 0.01, max: 1, noNaN: true })),
  top_k: maybe(fc.nat(300)),
  n: maybe(fc.integer({ min: 1, max: 3 })),
  stop: maybe(fc.oneof(text, fc.array(text, { maxLength: 4 }))),
  seed: maybe(fc.maxSafeInteger()),
  stream: maybe(fc.boolean()),
  logit_bias: maybe(fc.dictionary(fc.nat(300).map(String), fc.integer({ min: -100, max: 100 }), { maxKeys: 3 })),
  model: maybe(fc.constantFrom('tiny', 'other')),
};
const message = fc.record({ role: mostly(fc.constantFrom('user', 'system', 'assistant')), content: mostly(text) });
const chat = fc.record({
  ...common,
  messages: mostly(fc.array(message, { minLength: 1, maxLength: 4 })),
  logprobs: maybe(fc.boolean()),
});
const completion = fc.record({
  ...common,
  prompt: mostly(fc.oneof(text, fc.array(fc.nat(258), { minLength: 1, maxLength: 30 }))),
  logprobs: maybe(fc.nat(20)),
});
const request = fc.oneof(
  { weight: 5, arbitrary: chat.map((body) => ({ path: '/v1/chat/completions', body: JSON.stringify(body) ?? '' })) },
  { weight: 5, arbitrary: completion.map((body) => ({ path: '/v1/completions', body: JSON.stringify(body) ?? '' })) },
  { weight: 1, arbitrary: text.map((body) => ({ path: '/v1/completions', body })) },
  { weight: 1, arbitrary: fc.webPath().map((path) => ({ path: `/v1${path}`, body: '{}' })) },
);

/** Whether the schema of the address takes the body. */
function isSound({ path, body }: { path: string; body: string }): boolean {
  const schema = path === '/v1/completions' ? completionSchema : chatSchema;
  try {
    return schema.safeParse(JSON.parse(body)).success;
  } catch {
    return false;
  }
}

test('10,000 requests: statuses that fit, no defect, no slot and no memory lost', async () => {
  const bias = (token: number) => letters(token) - 2;
  const server = await testServer({ fake: { ...bigContext, slots: 16, maxRows: 64, bias }, maxWaiting: 1000 });
  const requests = fc.sample(request, { numRuns: REQUESTS, seed: 8 });
  const statuses = new Map<number, number>();
  const memory: number[] = [];
  for (let at = 0; at < REQUESTS; at += AT_ONCE) {
    const part = requests.slice(at, at + AT_ONCE).map(async (each) => {
      const response = await server.post(each.path, each.body);
      const body = await response.text();
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
      if (response.status !== 200) expect(JSON.parse(body)).toMatchObject({ error: { message: expect.any(String) } });
      if (response.status === 200) expect(isSound(each)).toBe(true);
      expect([200, 400, 404]).toContain(response.status);
    });
    await Promise.all(part);
    server.decoder.steps.length = 0;
    global.gc?.();
    memory.push(process.memoryUsage().heapUsed);
  }
  expect(server.errors).toEqual([]);
  expect([server.engine.running, server.engine.waiting]).toEqual([0, 0]);
  for (const status of [200, 400, 404]) expect(statuses.get(status) ?? 0).toBeGreaterThan(300);
  // The heap breathes by what garbage there is: its least in the last quarter against the least of the second.
  const least = (from: number, to: number): number =>
    Math.min(...memory.slice(memory.length * from, memory.length * to));
  expect(least(0.75, 1) - least(0.25, 0.5)).toBeLessThan(16 * 2 ** 20);
  await server.stop(0);
});
