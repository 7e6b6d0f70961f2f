/**
 * The training command from outside: what it prints and writes, how it ends, and what it says to bad input.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { jsonSchemaOf } from '@fourfold/cli';
import { openTokenizer } from '@fourfold/data';
import { settings, shapeOf } from '@fourfold/settings';
import { afterAll, describe, expect, test } from 'vitest';
import { command, node } from './command.ts';

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
] as const)(
  '%s ends the run after its step, with whole files, a checkpoint, and exit code %i',
  async (signal, expected) => {
    const metrics = join(folder, `${signal}.jsonl`);
    const checkpoints = join(folder, signal);
    const args = flags({ ...small, device: 'cpu', steps: 100000, metrics, evalEvery: 0, checkpoints });
    const { code, stdout } = await command(args, (output, child) => {
      if (output.includes('step      3/')) child.kill(signal);
    });
    expect(code).toBe(expected);
    const last = [...stdout.matchAll(/^step +(\d+)\//gm)].at(-1)?.[1];
    expect(readdirSync(checkpoints)).toEqual([`step-${last?.padStart(6, '0')}`]);
    expect(stdout).toMatch(/^\d+ steps in .*see .*\.jsonl$/m);
    const lines = readFileSync(metrics, 'utf8').trim().split('\n');
    expect(lines.length).toBeGreaterThanOrEqual(3);
    for (const line of lines) expect(() => JSON.parse(line)).not.toThrow();
  },
);

test('numbers that are none end the run, which says of which step, on which rank, in which tensor', async () => {
  const args = flags({ ...small, device: 'cpu', steps: 50, learningRate: 1e30, warmupSteps: 0, evalEvery: 0 });
  const { code, stdout, stderr } = await command(args);
  const logged = [...stdout.matchAll(/^step +(\d+)\/50/gm)].length;
  expect(logged).toBeGreaterThan(0);
  expect(stderr).toMatch(
    new RegExp(
      `^the gradient's norm of step ${logged + 1} is NaN on rank 0, ` +
        'first in the gradient of model\\.layers\\.1\\.[a-z_.]+\\.weight: use a smaller learningRate\n$',
    ),
  );
  expect(code).toBe(2);
});

test('lines come in the order of the steps: a validation, a sample after the step that they follow', async () => {
  const every = { steps: 7, evalEvery: 2, sampleEvery: 3, evalSequences: 2, prompt: 'It' };
  const { stdout } = await command(flags({ ...small, device: 'cpu', ...every }));
  const kinds = [...stdout.matchAll(/^(step +\d+|validation after step \d+|It)/gm)].map(([kind]) =>
    kind.replace(/ +/g, ' '),
  );
  const expected = (step: number) => [
    `step ${step}`,
    ...(step % 2 === 0 || step === 7 ? [`validation after step ${step}`] : []),
    ...(step % 3 === 0 || step === 7 ? ['It'] : []),
  ];
  expect(kinds).toEqual([1, 2, 3, 4, 5, 6, 7].flatMap(expected));
});

describe('bad input is one sentence and exit code 2', () => {
  const metrics = join(folder, 'never.jsonl');
  const missing = join(folder, 'missing.json');
  // biome-ignore format: a table
  test.each<[Record<string, string | number>, RegExp]>([
    [{ seqLenght: 64 }, /^--seqLenght .*seqLength/],
    [{ steps: 0 }, /^--steps 0.*above 0/],
    [{ tp: 3 }, /^tp=3 does not divide heads=4: use 1, 2, 4\n$/],
    [{ cp: 3 }, /^cp=3 .* seqLength=32 /],
    [{ pp: 3 }, /^pp=3 has more stages than layers=2: use pp of at most 2\n$/],
    [{ pp: 2, ppEngine: 'interleaved' }, /^pp=2 x ppChunks=2 has more stages than layers=2/],
    [{ zero: 'true' }, /^zero=true .*use dp=2 or more\n$/],
    [{ saveEvery: 5 }, /^saveEvery=5 needs a folder to save to: use --checkpoints DIR\n$/],
    [{ maxRestarts: 2 }, /^maxRestarts=2 restarts processes: use launcher=processes\n$/],
    [{ resume: missing }, /^resume=.*missing\.json: .* is no checkpoint: /],
    [{ tp: 4, launcher: 'processes', heads: 6 }, /^heads=6 /],
    [{ trace: join(folder, 'no', 'such.json'), dp: 2 }, /such\.json.*can't be written/],
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
    [{ device: 'wasm', moments: 'bfloat16' }, /^moments=bfloat16 needs TensorFlow/],
    [{ masterWeights: 'false' }, /^masterWeights=false needs bfloat16 weights: use precision=bfloat16\n$/],
  ])('%j', async (change, sentence) => {
    const { code, stdout, stderr } = await command(flags({ ...small, device: 'cpu', metrics, ...change }));
    expect(stderr).toMatch(sentence);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stdout).not.toMatch(/step/);
    expect(code).toBe(2);
    expect(existsSync(metrics)).toBe(false);
  });
});

/** The losses that a run wrote. */
const lossesIn = (path: string): number[] =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .flatMap((line) => (JSON.parse(line) as { loss?: number }).loss ?? []);

describe('ranks', () => {
  const run = { ...small, device: 'cpu', steps: 6, gradAccSteps: 2, evalSequences: 4 };
  const layout = { dp: 2, tp: 2 };
  const file = (name: string) => join(folder, name);

  test('as coroutines and as processes: the same bits; and one rank within 1e-5', async () => {
    const [local, processes, alone] = ['local.jsonl', 'processes.jsonl', 'alone.jsonl'].map(file) as [
      string,
      string,
      string,
    ];
    const gradients = ['local.safetensors', 'processes.safetensors'].map(file) as [string, string];
    const several = { ...run, ...layout, zero: 'true' };
    await command(flags({ ...several, metrics: local, gradients: gradients[0] }));
    const launched = { ...several, launcher: 'processes', metrics: processes, gradients: gradients[1] };
    const { code, stdout } = await command(flags(launched));
    expect(code).toBe(0);
    expect(stdout).toMatch(/4 ranks, dp2 x pp1 x cp1 x tp2, a process each/);
    expect(stdout).toMatch(/dpCp .*reduceScatter/);
    await command(flags({ ...run, microBatchSize: 4, metrics: alone }));
    expect(lossesIn(processes)).toEqual(lossesIn(local));
    expect(readFileSync(gradients[1]).equals(readFileSync(gradients[0]))).toBe(true);
    for (const [i, loss] of lossesIn(alone).entries())
      expect(Math.abs((lossesIn(local)[i] as number) / loss - 1)).toBeLessThan(1e-5);
  });

  test('a trace and the schedule, from a pipeline in processes', async () => {
    const trace = file('trace.json');
    const args = flags({ ...run, pp: 2, gradAccSteps: 4, launcher: 'processes', trace, sampleTokens: 0 });
    const { code, stdout } = await command(args);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^.*Bubble +formula 20\.0%, measured \d+\.\d%/m);
    const { traceEvents } = JSON.parse(readFileSync(trace, 'utf8')) as { traceEvents: { name: string; pid: number }[] };
    expect(new Set(traceEvents.map(({ pid }) => pid))).toEqual(new Set([0, 1]));
    for (const name of ['forward of micro-batch 4', 'backward of micro-batch 1', 'update'])
      expect(traceEvents.filter((event) => event.name === name)).toHaveLength(6); // 3 steps on 2 ranks
    expect(readFileSync(trace.replace('.json', '.svg'), 'utf8')).toMatch(/^<svg[\s\S]*milliseconds[\s\S]*<\/svg>\n$/);
  });

  test('launched with too few ranks for the layout: a sentence, exit code 2', async () => {
    const script = fileURLToPath(new URL('../src/train.ts', import.meta.url));
    const launch = fileURLToPath(new URL('../../process-group/bin/launch.mjs', import.meta.url));
    const args = flags({ ...run, dp: 4 });
    const { code, stderr } = await node([launch, '--nproc', '2', script, ...args]);
    expect(stderr).toMatch(/dp=4 x pp=1 x cp=1 x tp=1 is 4 ranks, but the world has 2/);
    expect(code).toBe(2);
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
  for (const name of ['start', 'nano', 'micro', 'smollm-135m-sotu']) {
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
