/** The command as a user starts it, with a home where no TensorFlow is. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { MACHINES, type Machine, planOf } from '../src/index.ts';
import { report, table } from '../src/report.ts';
import { jobOf } from './jobs.ts';

const home = mkdtempSync(join(tmpdir(), 'fourfold-plan-'));
afterAll(() => rmSync(home, { recursive: true }));
const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const root = fileURLToPath(new URL('../../../', import.meta.url));

function plan(...args: string[]) {
  const env = { ...process.env, HOME: home, XDG_CACHE_HOME: home };
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', main, ...args], {
    ...{ env, cwd: root, encoding: 'utf8' },
  });
  return { code: status, stdout, stderr };
}

test('columns: the first to the left, the others to the right', () => {
  expect(
    table([
      ['a', 'long'],
      ['bb', '1'],
    ]),
  ).toEqual(['  a   long', '  bb     1']);
});

test('configs/start.json on CPUs: memory at three levels, the bytes of npm start, the bubble, the time', () => {
  const { code, stdout, stderr } = plan('--config', 'configs/start.json', '--device', 'cpu');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^micro: 820,352 parameters, float32; 16 x two CPU cores/);
  for (const level of ['none', 'selective', 'block']) expect(stdout).toMatch(new RegExp(`^  ${level} .* fits$`, 'm'));
  // What the run in README.md sent in a step: 1.18 MB in tp, 524 KB in cp, 131 KB in pp, 1.28 MB in dpCp, 16.4 KB.
  for (const bytes of ['1.18 MB', '131 KB', '524 KB', '1.28 MB', '16.4 KB'])
    expect(stdout).toMatch(new RegExp(`^  \\w+ +${bytes} +${bytes}$`, 'm'));
  expect(stdout).toMatch(/ tokens\/s, .* MFU \d+\.\d %$/m);
});

test('--search prints layouts with their memory, time and MFU', () => {
  const size = ['--model', 'Llama-2-7B', '--precision', 'bfloat16', '--seqLength', '4096'];
  const { code, stdout } = plan(...size, '--nodes', '2', '--sequences', '64', '--search', '--top', '3');
  expect(code).toBe(0);
  expect(stdout.match(/^ {2}dp\d+-tp\d+-pp\d+-cp\d+-mbs\d+-ga\d+-sl4096.* ms .* %$/gm)).toHaveLength(3);
});

test.each([
  [['--tp', '3'], 'tp=3 does not divide heads=4: use 1, 2, 4'],
  [['--device', 'abacus'], '--device abacus: use one of h100, h200, a100, b200, rtx4090, cpu'],
  [['--dp', '16', '--nodes', '1'], 'nodes=1 has 8 devices and the layout 16 ranks: use more nodes'],
  [
    ['--model', 'Llama-3-8B', '--seqLength', '8192', '--nodes', '1', '--device', 'cpu', '--search'],
    'no layout of 4 ranks fits: use more nodes, other sequences or a smaller model',
  ],
])('a mistake is a sentence, and exit code 2: %j', (args, sentence) => {
  const { code, stderr } = plan(...args);
  expect({ code, stderr }).toEqual({ code: 2, stderr: `${sentence}\n` });
});

test('a pipeline’s report tells what its ranks hold and send', async () => {
  const job = jobOf({ model: 'SmolLM-135M', pp: 3, gradAccSteps: 4, device: 'cuda' });
  const text = await report(planOf(job, MACHINES['a100'] as Machine), MACHINES['a100'] as Machine);
  expect(text).toMatch(/idle \d+\.\d %; the first stage holds 3 micro-batches at once/);
  expect(text).toMatch(/^ {2}group +pp0 +pp1 +pp2$/m);
});
