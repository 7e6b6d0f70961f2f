/** Runs of the training command, of which tests and proofs make one each: on a device, in a layout, to a signal. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import { command } from './command.ts';

/** A folder that goes when the tests of a file have run. */
export const folder = mkdtempSync(join(tmpdir(), 'fourfold-command-'));
afterAll(() => rmSync(folder, { recursive: true }));

const text = join(folder, 'text.txt');
writeFileSync(text, 'It was the best of times, it was the worst of times.\n'.repeat(200));
export const small = { model: 'nano', data: text, seqLength: 32, microBatchSize: 2, sampleTokens: 5 };
/** What ranks are compared by. */
export const run = { ...small, device: 'cpu', steps: 6, gradAccSteps: 2, evalSequences: 4 };
export const flags = (values: Record<string, string | number>) =>
  Object.entries(values).flatMap(([key, value]) => [`--${key}`, String(value)]);

const fresh = (name: string): string => join(folder, name);

/** The losses that a run wrote. */
const lossesIn = (path: string): number[] =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .flatMap((line) => (JSON.parse(line) as { loss?: number }).loss ?? []);

/** What a run prints and writes. */
export async function expectWholeRun(device: 'cpu' | 'wasm'): Promise<void> {
  const [metrics, curve] = [fresh(`${device}.jsonl`), fresh(`${device}.svg`)];
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
}

/** The run ends after its step, with whole files and a checkpoint. */
export async function expectEndBy(signal: 'SIGINT' | 'SIGTERM', expected: number): Promise<void> {
  const metrics = fresh(`${signal}.jsonl`);
  const checkpoints = fresh(signal);
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
}

/** Ranks as coroutines and as processes have the same bits, and one rank has their losses within 1e-5. */
export async function expectSameInProcesses(layout: { dp: number; tp?: number }): Promise<void> {
  const ranks = Object.values(layout).reduce((product, side) => product * side, 1);
  const [local, processes, alone] = ['local', 'processes', 'alone'].map((name) => fresh(`${name}.jsonl`)) as [
    string,
    string,
    string,
  ];
  const gradients = ['local', 'processes'].map((name) => fresh(`${name}.safetensors`)) as [string, string];
  const several = { ...run, ...layout, zero: 'true' };
  await command(flags({ ...several, metrics: local, gradients: gradients[0] }));
  const launched = { ...several, launcher: 'processes', metrics: processes, gradients: gradients[1] };
  const { code, stdout } = await command(flags(launched));
  expect(code).toBe(0);
  expect(stdout).toMatch(
    new RegExp(`${ranks} ranks, dp${layout.dp} x pp1 x cp1 x tp${layout.tp ?? 1}, a process each`),
  );
  expect(stdout).toMatch(/dpCp .*reduceScatter/);
  await command(flags({ ...run, microBatchSize: 2 * layout.dp, metrics: alone }));
  expect(lossesIn(processes)).toEqual(lossesIn(local));
  expect(readFileSync(gradients[1]).equals(readFileSync(gradients[0]))).toBe(true);
  for (const [i, loss] of lossesIn(alone).entries())
    expect(Math.abs((lossesIn(local)[i] as number) / loss - 1)).toBeLessThan(1e-5);
}
