import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import { settings } from '@fourfold/settings';
import { afterAll, afterEach, beforeEach, expect, test, vi } from 'vitest';
import { contentOf, inOurWords, main } from '../src/create-config.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

let [said, complained]: [string[], string[]] = [[], []];
beforeEach(() => {
  [said, complained] = [[], []];
  vi.spyOn(console, 'log').mockImplementation((line: string) => void said.push(line));
  vi.spyOn(console, 'error').mockImplementation((line: string) => void complained.push(line));
});
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

const words = (line: string) => line.split(' ').filter(Boolean);
const create = (line: string) => main([...words(line), '--out', folder]);
const read = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as Record<string, unknown>;

test('the file’s name tells the layout, it fits the schema, and the global batch is said in tokens', async () => {
  await create('--model SmolLM-1.7B --dp 2 --tp 2 --microBatchSize 4 --gradAccSteps 8 --seqLength 2048');
  const { $schema, ...config } = read('dp2-tp2-pp1-cp1-mbs4-ga8-sl2048.json');
  expect(String($schema)).toMatch(/configs\/schema\.json$/);
  expect(config).toEqual({
    ...{ model: 'SmolLM-1.7B', dp: 2, tp: 2, pp: 1, cp: 1 },
    ...{ microBatchSize: 4, gradAccSteps: 8, seqLength: 2048, launcher: 'processes' },
  });
  expect(settings.strict().safeParse(config).success).toBe(true);
  expect(said[0]).toMatch(/SmolLM-1\.7B, 1,711,376,384 parameters, on 4 ranks$/);
  expect(said[1]).toBe('Global batch: 64 sequences, 131,072 tokens');
});

test('picotron’s flags mean here what they mean there', () => {
  const theirs =
    '--out_dir tmp --exp_name try --model_name HuggingFaceTB/SmolLM-360M-Instruct --num_hidden_layers 4 ' +
    '--num_attention_heads=16 --num_key_value_heads 4 --tp 2 --pp_engine afab --mbs 4 --grad_acc_steps 8 ' +
    '--seq_len=512 --use_cpu';
  const ours =
    '--out tmp --name try --model SmolLM-360M --layers 4 ' +
    '--heads=16 --kvHeads 4 --tp 2 --ppEngine afab --microBatchSize 4 --gradAccSteps 8 --seqLength=512 --device cpu';
  expect(inOurWords(words(theirs))).toEqual(words(ours));
  expect(inOurWords(['--model_name=HuggingFaceTB/SmolLM-1.7B-Instruct'])).toEqual(['--model=SmolLM-1.7B']);
});

test.each([
  ['--hf_token x', "--hf_token is picotron's: this writes a configuration and downloads nothing: leave it out"],
  ['--use_wandb', "--use_wandb is picotron's: use --metrics FILE, a line of JSON a step"],
])('what picotron has and a configuration here has not is a sentence: %s', (line, sentence) => {
  expect(() => inOurWords(words(line))).toThrow(new UserError(sentence));
});

test.each([
  ['--tp 3', 'tp=3 does not divide heads=4: use 1, 2, 4'],
  ['--pp 9', 'pp=9 has more stages than layers=4: use pp of at most 4'],
  ['--zero', 'zero=true splits moments over dp x cp ranks: use dp=2 or more'],
])(
  'what can’t be run is refused with a sentence and exit code 2, and nothing is written: %s',
  async (line, sentence) => {
    const before = readdirSync(folder);
    await create(line);
    expect({ complained, code: process.exitCode }).toEqual({ complained: [sentence], code: 2 });
    expect(readdirSync(folder)).toEqual(before);
  },
);

test('a file that is there stays, unless it is forced', async () => {
  writeFileSync(join(folder, 'mine.json'), 'mine');
  await create('--name mine');
  expect(complained[0]).toMatch(/mine\.json is there already: use --force, or another --name$/);
  expect(readFileSync(join(folder, 'mine.json'), 'utf8')).toBe('mine');
  await create('--name mine --force --recompute selective');
  expect(read('mine.json')).toMatchObject({ model: 'micro', recompute: 'selective' });
});

test('only what is not as usual is in the file, and the layout', () => {
  const content = contentOf(settings.parse({ beta2: 0.95, steps: 7 }), join(folder, 'x.json'));
  expect(Object.keys(content)).toEqual([
    ...['$schema', 'model', 'seqLength', 'microBatchSize', 'gradAccSteps', 'steps', 'dp', 'pp', 'cp', 'tp'],
  ]);
});
