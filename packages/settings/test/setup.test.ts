import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type Settings, settings } from '../src/settings.ts';
import { checkProfile, introduce, prepare, type Setup } from '../src/setup.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-setup-'));
const cache = join(folder, 'cache');
const data = join(folder, 'text.txt');
const TEXT = 'Call me Ishmael. Some years ago, never mind how long.\n'.repeat(20);
beforeAll(() => {
  writeFileSync(data, TEXT);
  vi.stubEnv('FOURFOLD_CACHE', cache);
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

// wasm is there on every machine; a process has one backend, so all tests of this file take it.
const asked = (changes: Partial<Settings> = {}): Settings =>
  settings.parse({ model: 'nano', data, seqLength: 16, device: 'wasm', ...changes });

/** What a refusal says, which must be a UserError. */
async function refusal(changes: Partial<Settings>): Promise<string> {
  const error = await prepare(asked(changes)).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(UserError);
  return (error as UserError).message;
}

test('what cannot be done is refused before a text is tokenized', async () => {
  expect(await refusal({ tp: 3 })).toBe('tp=3 does not divide heads=4: use 1, 2, 4');
  expect(existsSync(cache)).toBe(false);
});

test('opens the tokenizer, both parts of the text and the backend', async () => {
  const { config, shape, backend, tokenizer, text } = await prepare(asked({ validationFraction: 0.2 }));
  expect(config).toEqual(asked({ validationFraction: 0.2 }));
  expect(shape).toMatchObject({ layers: 2, dim: 64, vocabulary: 256 });
  expect(backend.device).toBe('wasm');
  expect(tokenizer.name).toBe('bytes');
  expect(text.train.count + text.validation.count).toBe(TEXT.length);
  expect(text.validation.count).toBe(0.2 * TEXT.length);
  expect(tokenizer.decode(text.train.read(0, 15))).toBe('Call me Ishmael');
  text.close();
});

test('a sequence longer than the validation part is refused, though training has enough', async () => {
  expect(await refusal({ seqLength: 512 })).toBe(
    'seqLength=512 needs 513 tokens, more than the validation part of the text, which has 108 tokens: ' +
      'use at most 107 or give more text',
  );
});

test('tokens that the model has no row for are refused', async () => {
  expect(await refusal({ vocabulary: 100 })).toBe(
    'vocabulary=100 is too small for token 121 of tokenizer bytes: use at least 256',
  );
});

test('a text and a tokenizer that are not there are refused', async () => {
  const missing = join(folder, 'missing');
  expect(await refusal({ data: missing })).toContain(`data=${missing} can't be read`);
  expect(await refusal({ tokenizer: missing })).toContain(missing);
});

test('bfloat16 is refused where there is no TensorFlow', async () => {
  for (const key of ['precision', 'moments'])
    expect(await refusal({ [key]: 'bfloat16' })).toBe(
      `${key}=bfloat16 needs TensorFlow: use float32, or device cpu or cuda`,
    );
});

test("a GPU's times are refused where there is none, before the first step", async () => {
  expect(await refusal({ profile: 3 })).toBe(
    'profile=3 takes the times of a GPU, and this is WebAssembly on 1 CPU thread',
  );
});

test('a step that a trace takes the times of, on ranks that are processes, is not profiled too', () => {
  const cuda = { device: 'cuda', threads: 1, description: 'a GPU' } as const;
  const check = (changes: Partial<Settings>) => () => checkProfile(asked({ steps: 20, ...changes }), cuda);
  expect(check({ profile: 18, trace: 'run.json' })).not.toThrow(); // coroutines: no GPU is traced
  vi.stubEnv('RANK', '0');
  vi.stubEnv('WORLD_SIZE', '2');
  const sentence = 'profile=18 is a step of which trace=run.json takes the times too: ';
  expect(check({ profile: 18, trace: 'run.json' })).toThrow(new UserError(`${sentence}use a profile of at most 17`));
  expect(check({ profile: 2, steps: 3, trace: 'run.json' })).toThrow('use more than 3 steps');
  for (const changes of [{ profile: 17, trace: 'run.json' }, { profile: 18 }, { trace: 'run.json' }])
    expect(check(changes)).not.toThrow();
  vi.stubEnv('RANK', undefined);
  vi.stubEnv('WORLD_SIZE', undefined);
});

// ## What is said of a run

/** The lines of a run with such settings, on such a backend. */
async function linesOf(changes: Partial<Settings>, backend: Partial<Setup['backend']> = {}): Promise<string[]> {
  const setup = await prepare(asked(changes));
  const lines: string[] = [];
  introduce({ ...setup, backend: { ...setup.backend, ...backend } }, (line) => lines.push(line));
  setup.text.close();
  return lines;
}

const tokens = `${data}: 972 tokens to train on, 108 to validate, bytes`;
const model = /^nano: 0\.12 M parameters, float32, on \S.*$/;

test('one rank says what it trains, where and on what', async () => {
  const lines = await linesOf({});
  expect(lines).toEqual([expect.stringMatching(model), tokens]);
  expect((await linesOf({}, { description: 'a GPU' }))[0]).toBe('nano: 0.12 M parameters, float32, on a GPU');
});

test('several ranks say their layout too, and whether they are processes', async () => {
  const layout = { dp: 3, pp: 2, cp: 1, tp: 4 };
  const ranks = '24 ranks, dp3 x pp2 x cp1 x tp4';
  const local = await linesOf(layout);
  expect(local).toEqual([expect.stringMatching(model), `${ranks}, as coroutines of this process`, tokens]);
  const processes = await linesOf({ ...layout, launcher: 'processes' });
  expect(processes[1]).toBe(`${ranks}, a process each`);
});

test('what a launcher has started is a process each, whatever the settings say', async () => {
  vi.stubEnv('RANK', '0');
  vi.stubEnv('WORLD_SIZE', '2');
  const lines = await linesOf({ dp: 2 });
  vi.stubEnv('RANK', undefined);
  vi.stubEnv('WORLD_SIZE', undefined);
  expect(lines[1]).toBe('2 ranks, dp2 x pp1 x cp1 x tp1, a process each');
});

test('training on wasm because nothing better was there is said first, and why', async () => {
  const lines = await linesOf({}, { note: 'no compiler' });
  expect(lines).toEqual(['Training on wasm, slower: no compiler', expect.stringMatching(model), tokens]);
});
