import { setTimeout as wait } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Engine, type StepReport, type TokenRequest } from '../../src/engine/engine.ts';
import { choose, greedy, type Sampling } from '../../src/sampler.ts';
import { type FakeOptions, fakeDecoder, logitsAfter } from '../support/fake-decoder.ts';
import { chosenOf } from '../support/whole-forward.ts';

const V = 259;
const END = 258;
const hot: Sampling = { ...greedy, temperature: 1, topP: 0.9, seed: 3 };

const request = (prompt: readonly number[], more: Partial<TokenRequest> = {}): TokenRequest => ({
  ...{ prompt, maxTokens: 12, sampling: greedy, ends: new Set([END]) },
  ...more,
});

const read = async (engine: Engine, asked: TokenRequest): Promise<number[]> => {
  const tokens: number[] = [];
  for await (const { token } of engine.generate(asked)) tokens.push(token);
  return tokens;
};

/** What a request gets, by no engine: each token from all before it. */
function reference({ prompt, maxTokens, sampling, ends }: TokenRequest, options: FakeOptions = {}): number[] {
  const answer: number[] = [];
  while (answer.length < maxTokens && prompt.length + answer.length < (options.maxSeqLength ?? 256)) {
    const logits = chosenOf(logitsAfter([...prompt, ...answer], V, options.bias), 'all');
    answer.push(choose(logits, sampling, answer.length).token);
    if (ends.has(answer.at(-1) as number)) break;
  }
  return answer;
}

const promptOf = (length: number, seed = 0): number[] => Array.from({ length }, (_, i) => (i * 7 + seed * 31) % 256);

test('one request gets what each token after all before it gives', async () => {
  for (const sampling of [greedy, hot]) {
    const asked = request(promptOf(40), { sampling });
    expect(await read(new Engine(fakeDecoder()), asked)).toEqual(reference(asked));
  }
});

test('whatever else is in the batch, each request gets the same', async () => {
  const lengths = fc.array(fc.tuple(fc.integer({ min: 1, max: 60 }), fc.nat(3), fc.integer({ min: 1, max: 20 })), {
    ...{ minLength: 1, maxLength: 12 },
  });
  await fc.assert(
    fc.asyncProperty(
      lengths,
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 5, max: 20 }),
      async (all, slots, maxRows) => {
        const engine = new Engine(fakeDecoder({ slots, maxRows }));
        const asked = all.map(([length, seed, maxTokens], i) =>
          request(promptOf(length, seed), { maxTokens, sampling: i % 2 ? greedy : { ...hot, seed: i } }),
        );
        const answers = await Promise.all(asked.map((each) => read(engine, each)));
        expect(answers).toEqual(asked.map((each) => reference(each)));
        expect([engine.running, engine.waiting]).toEqual([0, 0]);
      },
    ),
    { numRuns: 60 },
  );
});

test('a token that ends a text is the last', async () => {
  const bias = (token: number, length: number): number => (token === END && length >= 8 ? 100 : 0);
  const tokens = await read(new Engine(fakeDecoder({ bias })), request(promptOf(5)));
  expect(tokens.length).toBe(4);
  expect(tokens.at(-1)).toBe(END);
});

test('an answer ends where the context does', async () => {
  const options = { maxSeqLength: 20 };
  const asked = request(promptOf(15), { maxTokens: 100 });
  expect(await read(new Engine(fakeDecoder(options)), asked)).toEqual(reference(asked, options));
});

test('a prompt that is empty, too long or of unknown tokens is refused by a sentence', () => {
  const engine = new Engine(fakeDecoder({ maxSeqLength: 20 }));
  expect(() => engine.generate(request([]))).toThrow('The prompt is empty: give at least one token');
  expect(() => engine.generate(request(promptOf(20)))).toThrow(
    'The prompt has 20 tokens, and the context holds 20 with the answer: use a prompt of at most 19 tokens',
  );
  expect(() => engine.generate(request([V]))).toThrow('The prompt has token 259, and the model knows 259');
  expect(() => engine.generate(request([1], { maxTokens: 0 }))).toThrow('max_tokens=0 leaves no answer');
});

test('a long prompt takes a chunk a step, and answers go on beside it', async () => {
  const decoder = fakeDecoder({ maxRows: 8 });
  const engine = new Engine(decoder);
  const first = read(engine, request(promptOf(4), { maxTokens: 30 }));
  while (decoder.steps.length < 3) await wait(1);
  await read(engine, request(promptOf(60, 1), { maxTokens: 1 }));
  await first;
  const mixed = decoder.steps.filter((rows) => rows.length === 8);
  expect(mixed.length).toBeGreaterThanOrEqual(8); // 60 rows, 7 at a time beside the answer's
  for (const rows of mixed) expect(rows.filter(({ slot }) => slot === rows[0]?.slot).length).toBe(1);
});

test('a prompt that begins as a slot does is computed from there on', async () => {
  const decoder = fakeDecoder();
  const reports: StepReport[] = [];
  const engine = new Engine(decoder, { onStep: (report) => reports.push(report) });
  const prompt = promptOf(30);
  const answer = await read(engine, request(prompt));
  decoder.steps.length = 0;
  const next = request([...prompt, ...answer, 1, 2, 3]);
  expect(await read(engine, next)).toEqual(reference(next));
  // All of the answer but its last token was computed.
  expect(decoder.steps[0]?.map(({ position }) => position)).toEqual([41, 42, 43, 44]);
  expect(reports.reduce((sum, { reused }) => sum + reused, 0)).toBe(41);
});

test('several answers to one prompt compute it once', async () => {
  const decoder = fakeDecoder({ maxRows: 16, slots: 4 });
  const engine = new Engine(decoder);
  const asked = [0, 1, 2].map((choice) => request(promptOf(100), { sampling: { ...hot, choice } }));
  const answers = await Promise.all(asked.map((each) => read(engine, each)));
  expect(answers).toEqual(asked.map((each) => reference(each)));
  expect(decoder.copies.map(({ length }) => length)).toEqual([99, 99]);
  const promptRows = decoder.steps.flat().filter(({ position }) => position < 100);
  expect(promptRows.length).toBe(102);
});

test('who goes away frees the slot at once', async () => {
  const decoder = fakeDecoder({ slots: 1 });
  const engine = new Engine(decoder);
  const leaving = new AbortController();
  const first = read(engine, request(promptOf(3), { maxTokens: 200, signal: leaving.signal }));
  const second = read(engine, request(promptOf(4), { maxTokens: 2 }));
  while (decoder.steps.length < 5) await wait(1);
  leaving.abort(new Error('gone'));
  await expect(first).rejects.toThrow('gone');
  expect(await second).toEqual(reference(request(promptOf(4), { maxTokens: 2 })));
  expect(decoder.steps.length).toBeLessThan(15);
  for await (const _ of engine.generate(request(promptOf(3), { maxTokens: 200 }))) break;
  expect(engine.running).toBe(0);
});

test('who goes away while waiting never runs', async () => {
  const decoder = fakeDecoder({ slots: 1 });
  const engine = new Engine(decoder);
  const leaving = new AbortController();
  const first = read(engine, request(promptOf(3), { maxTokens: 5 }));
  const second = read(engine, request([77], { signal: leaving.signal }));
  leaving.abort(new Error('gone'));
  await expect(second).rejects.toThrow('gone');
  await first;
  expect(decoder.steps.flat().some(({ token, position }) => token === 77 && position === 0)).toBe(false);
});

test('more than may wait are refused', async () => {
  const engine = new Engine(fakeDecoder({ slots: 1 }), { maxWaiting: 2 });
  const first = read(engine, request([1]));
  await wait(5);
  const others = [read(engine, request([2])), read(engine, request([3]))];
  expect(() => engine.generate(request([4]))).toThrow('2 requests are waiting already: try again in a while');
  await Promise.all([first, ...others]);
  expect((await read(engine, request([4]))).length).toBe(12);
});

test('a step that fails ends all requests by its sentence, until there is another decoder', async () => {
  const decoder = fakeDecoder({ slots: 1 });
  const engine = new Engine(decoder);
  const both = [read(engine, request([1], { maxTokens: 200 })), read(engine, request([2]))];
  while (decoder.steps.length < 3) await wait(1);
  decoder.failure = new Error('worker 10.0.0.2:9990 is gone');
  for (const answer of await Promise.allSettled(both))
    expect(answer).toMatchObject({ status: 'rejected', reason: { message: 'worker 10.0.0.2:9990 is gone' } });
  expect(engine.failure).toBe('worker 10.0.0.2:9990 is gone');
  expect(() => engine.generate(request([1]))).toThrow('worker 10.0.0.2:9990 is gone');
  engine.replaceDecoder(fakeDecoder());
  expect(engine.failure).toBeUndefined();
  expect(await read(engine, request([1]))).toEqual(reference(request([1])));
});
