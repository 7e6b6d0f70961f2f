/**
 * The training command from outside: what it prints and writes, how it ends, and what it says to bad input.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { jsonSchemaOf } from '@fourfold/cli';
import { openTokenizer } from '@fourfold/data';
import { trainingCommand } from '@fourfold/run';
import { settings, shapeOf } from '@fourfold/settings';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { trainRank } from '../src/train.ts';
import { command, node } from './command.ts';
import { expectEndBy, expectSameInProcesses, expectWholeRun, flags, folder, run, small } from './command-runs.ts';

const train = fileURLToPath(new URL('../src/train.ts', import.meta.url));
const empty = join(folder, 'empty.txt');
writeFileSync(empty, '');

test('a line a step, figures, a curve and a sample', () => expectWholeRun('cpu'));

test('SIGINT ends the run after its step, with whole files, a checkpoint, and exit code 130', () =>
  expectEndBy('SIGINT', 130));

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
  const { argv } = process;
  const handlers = { SIGINT: process.listeners('SIGINT'), SIGTERM: process.listeners('SIGTERM') };
  afterEach(() => {
    process.argv = argv;
    vi.restoreAllMocks();
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      for (const one of process.listeners(signal)) if (!handlers[signal].includes(one)) process.off(signal, one);
  });
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
    [{ masterWeights: 'false' }, /^masterWeights=false needs bfloat16 weights: use precision=bfloat16\n$/],
  ])('%j', async (change, sentence) => {
    process.argv = [argv[0] ?? '', train, ...flags({ ...small, device: 'cpu', metrics, ...change })];
    const said = { stdout: vi.spyOn(console, 'log'), stderr: vi.spyOn(console, 'error') };
    for (const spy of Object.values(said)) spy.mockImplementation(() => {});
    vi.spyOn(process, 'exit').mockImplementation((code) => {
      throw new Error(`exit ${code}`);
    });
    await expect(trainingCommand(pathToFileURL(train).href, trainRank)).rejects.toThrow('exit 2');
    const [stdout = '', stderr = ''] = [said.stdout, said.stderr].map(({ mock }) => mock.calls.flat().join('\n'));
    expect(`${stderr}\n`).toMatch(sentence);
    expect(stderr.split('\n')).toHaveLength(1);
    expect(stdout).not.toMatch(/step/);
    expect(existsSync(metrics)).toBe(false);
  });

  // wasm, which this process has not opened
  test('{"device":"wasm","precision":"bfloat16"}, as a process', async () => {
    const { code, stderr } = await command(flags({ ...small, device: 'wasm', precision: 'bfloat16', metrics }));
    expect(stderr).toMatch(/^precision=bfloat16 needs TensorFlow.*\n$/);
    expect(code).toBe(2);
  });
});

test('ranks as coroutines and as processes: the same bits; and one rank within 1e-5', () =>
  expectSameInProcesses({ dp: 2 }));

test('launched with too few ranks for the layout: a sentence, exit code 2', async () => {
  const launch = fileURLToPath(new URL('../../process-group/bin/launch.mjs', import.meta.url));
  const args = flags({ ...run, dp: 4 });
  const { code, stderr } = await node([launch, '--nproc', '2', train, ...args]);
  expect(stderr).toMatch(/dp=4 x pp=1 x cp=1 x tp=1 is 4 ranks, but the world has 2/);
  expect(code).toBe(2);
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
