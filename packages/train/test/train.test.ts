/**
 * The training command from outside: what it prints and writes, how it ends, and what it says to bad input.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { jsonSchemaOf } from '@fourfold/cli';
import { openTokenizer } from '@fourfold/data';
import { afterAll, describe, expect, test } from 'vitest';
import { settings, shapeOf } from '../src/train.ts';
import { command } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-command-'));
afterAll(() => rmSync(folder, { recursive: true }));

const text = join(folder, 'text.txt');
writeFileSync(text, 'It was the best of times, it was the worst of times.\n'.repeat(200));
const empty = join(folder, 'empty.txt');
writeFileSync(empty, '');
const small = { model: 'nano', data: text, seqLength: 32, microBatchSize: 2, sampleTokens: 5 };
const flags = (values: Record<string, string | number>) =>
  Object.entries(values).flatMap(([key, value]) => [`--${key}`, String(value)]);

test.each(['cpu', 'wasm'])('on %s: a line a step, figures, a curve and a sample', async (device) => {
  const [metrics, curve] = [join(folder, `${device}.jsonl`), join(folder, `${device}.svg`)];
  const args = flags({ ...small, device, steps: 4, metrics, curve });
  const { code, stdout, stderr } = await command(args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout.match(/^step [1-4]\/4 \| loss +\d\.\d{4} \| norm .* tok\/s .* ms .* MB$/gm)).toHaveLength(4);
  expect(stdout).toMatch(/^validation after step 4: loss \d\.\d{4}, \d\.\d{3} bits per byte$/m);
  expect(stdout).toMatch(/^The /m);
  const records = readFileSync(metrics, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  expect(records).toHaveLength(5);
  const keys = ['step', 'loss', 'gradNorm', 'learningRate', 'tokensPerSecond', 'milliseconds', 'memoryBytes'];
  expect(Object.keys(records[0] ?? {})).toEqual(keys);
  expect(Object.keys(records[4] ?? {})).toEqual(['step', 'validationLoss', 'bitsPerByte']);
  expect(readFileSync(curve, 'utf8')).toMatch(/^<svg[\s\S]*<\/svg>\n$/);
});

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s ends the run after its step, with whole files, and exit code %i', async (signal, expected) => {
  const metrics = join(folder, `${signal}.jsonl`);
  const args = flags({ ...small, device: 'cpu', steps: 100000, metrics, evalEvery: 0 });
  const { code, stdout } = await command(args, (output, child) => {
    if (output.includes('step      3/')) child.kill(signal);
  });
  expect(code).toBe(expected);
  expect(stdout).toMatch(/^\d+ steps in .*see .*\.jsonl$/m);
  const lines = readFileSync(metrics, 'utf8').trim().split('\n');
  expect(lines.length).toBeGreaterThanOrEqual(3);
  for (const line of lines) expect(() => JSON.parse(line)).not.toThrow();
});

describe('bad input is one sentence and exit code 2', () => {
  const metrics = join(folder, 'never.jsonl');
  const missing = join(folder, 'missing.json');
  // biome-ignore format: a table
  test.each<[Record<string, string | number>, RegExp]>([
    [{ seqLenght: 64 }, /^--seqLenght .*seqLength/],
    [{ steps: 0 }, /^--steps 0.*above 0/],
    [{ tp: 2 }, /^--tp 2.*1/],
    [{ heads: 3 }, /^heads=3 .*dim=64/],
    [{ kvHeads: 3 }, /^kvHeads=3 does not divide heads=4: use 1, 2, 4\n$/],
    [{ seqLength: 100000 }, /^seqLength=100000 needs 100001 tokens/],
    [{ data: missing }, /missing\.json/],
    [{ data: empty }, /empty\.txt.*empty/],
    [{ tokenizer: 'gpt2', vocabulary: 1000 }, /^vocabulary=1000 is too small/],
    [{ tokenizer: missing }, /missing\.json/],
    [{ model: 'Llama-3-8B', tokenizer: 'gpt2' }, /^model=Llama-3-8B .* needs \d+\.\d GiB and this machine has/],
    [{ config: missing }, /missing\.json/],
    [{ metrics: join(folder, 'no', 'such.jsonl') }, /such\.jsonl.*can't be written/],
    [{ curve: join(folder, 'no', 'such.svg') }, /such\.svg.*can't be written/],
    [{ device: 'wasm', precision: 'bfloat16' }, /^precision=bfloat16 needs TensorFlow/],
  ])('%j', async (change, sentence) => {
    const { code, stdout, stderr } = await command(flags({ ...small, device: 'cpu', metrics, ...change }));
    expect(stderr).toMatch(sentence);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stdout).not.toMatch(/step/);
    expect(code).toBe(2);
    expect(existsSync(metrics)).toBe(false);
  });
});

test('--help names every setting', async () => {
  const { code, stdout } = await command(['--help']);
  expect(code).toBe(0);
  for (const key of Object.keys(settings.shape)) expect(stdout).toContain(`--${key} `);
});

test('configs/schema.json is the schema, and every ready-made configuration fits it', async () => {
  const path = (name: string) => fileURLToPath(new URL(`../../../configs/${name}`, import.meta.url));
  expect(JSON.parse(readFileSync(path('schema.json'), 'utf8'))).toEqual(jsonSchemaOf(settings));
  for (const name of ['nano', 'micro', 'smollm-135m-sotu']) {
    expect(existsSync(path(`${name}.json`))).toBe(true);
    const { $schema, ...config } = JSON.parse(readFileSync(path(`${name}.json`), 'utf8')) as Record<string, unknown>;
    expect($schema).toBe('./schema.json');
    expect(settings.strict().safeParse(config).error).toBeUndefined();
  }
});

test('settings change a named shape', async () => {
  const bytes = await openTokenizer('bytes');
  const shape = shapeOf(settings.parse({ model: 'nano', heads: 8, layers: 3 }), bytes);
  expect(shape).toMatchObject({ layers: 3, heads: 8, kvHeads: 8, headDim: 8, vocabulary: 256 });
  expect(shapeOf(settings.parse({ model: 'SmolLM-135M' }), bytes)).toMatchObject({ vocabulary: 49152, kvHeads: 3 });
});
