import { pathToFileURL } from 'node:url';
import { afterEach, expect, test, vi } from 'vitest';
import { trainingCommand } from '../src/index.ts';
import { text } from './ranks.ts';

// The whole command, as a user starts it, is tested beside train.ts.

const { argv } = process;
afterEach(() => {
  process.argv = argv;
  vi.restoreAllMocks();
});

test('a file that was only imported starts nothing', async () => {
  const loop = vi.fn(async () => 0);
  process.argv = [argv[0] ?? '', '/somewhere/program.ts', '--steps', '1'];
  await trainingCommand('file:///somewhere/train.ts', loop);
  expect(loop).not.toHaveBeenCalled();
});

test('the program that was started runs the loop on every rank; the first one hears and logs', async () => {
  const said = vi.spyOn(console, 'log').mockImplementation(() => {});
  vi.spyOn(process.stdout, 'write').mockImplementation(() => true);
  const file = '/somewhere/train.ts';
  const flags = { model: 'nano', data: text, tp: 2, seqLength: 32, device: 'cpu', steps: 5 };
  process.argv = [argv[0] ?? '', file, ...Object.entries(flags).flatMap(([key, value]) => [`--${key}`, `${value}`])];
  const logs: boolean[] = [];
  await trainingCommand(pathToFileURL(file).href, async (setup, world, { log, disk, signal, found, between }) => {
    logs[world.rank] = log !== undefined;
    expect([setup.config.steps, world.size, disk !== undefined, found]).toEqual([5, 2, true, undefined]);
    expect(signal?.aborted).toBe(false);
    await between?.();
    return 0;
  });
  expect(logs).toEqual([true, false]);
  expect(said.mock.calls.flat().join('\n')).toContain('2 ranks, dp1 x pp1 x cp1 x tp2, as coroutines of this process');
});
