/** The training command as a process: on wasm, ended by SIGTERM, in four processes, and traced in two. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { command } from './command.ts';
import { expectEndBy, expectSameInProcesses, expectWholeRun, flags, folder, run, small } from './command-runs.ts';

test('on wasm: a line a step, figures, a curve and a sample', () => expectWholeRun('wasm'));

test('SIGTERM ends the run after its step, with whole files, a checkpoint, and exit code 143', () =>
  expectEndBy('SIGTERM', 143));

test('bfloat16 moments on wasm are refused', async () => {
  const { code, stderr } = await command(flags({ ...small, device: 'wasm', moments: 'bfloat16' }));
  expect(stderr).toMatch(/^moments=bfloat16 needs TensorFlow.*\n$/);
  expect(code).toBe(2);
});

test('ranks as coroutines and as processes: the same bits; and one rank within 1e-5', () =>
  expectSameInProcesses({ dp: 2, tp: 2 }));

test('a trace and the schedule, from a pipeline in processes', async () => {
  const trace = join(folder, 'trace.json');
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
