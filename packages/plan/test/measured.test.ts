import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { comparison, measuredRuns } from '../src/measured.ts';
import { measured, results } from './jobs.ts';

test('runs of one GPU and of several, with their machine, settings and shape', () => {
  const files = new Set(measured.map(({ file }) => file));
  expect(files.size).toBeGreaterThan(8);
  const llama = measured.find(({ file }) => file.includes('Llama-2-7B'));
  expect(llama?.machine).toBe('h100');
  expect(llama?.job.config).toMatchObject({ recompute: 'block', seqLength: 4096, masterWeights: false });
  expect(llama?.job.shape.layers).toBe(32);
  const pipeline = measured.find(({ job }) => job.config.pp === 2);
  expect(pipeline?.peakBytes).toHaveLength(2);
});

test('a line for each, with what the plan is off', () => {
  const lines = comparison(measured);
  expect(lines).toHaveLength(1 + measured.length);
  for (const line of lines.slice(1))
    expect(line).toMatch(/^ {2}\d+ x \d+, dp\d.* h[12]00 .* -?\d+\.\d % .* -?\d+\.\d %$/);
});

test('a folder that isn’t there, and a file that is no JSON, are sentences', () => {
  expect(() => measuredRuns(join(results, 'none'))).toThrow(/none can't be read: ENOENT/);
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-measured-'));
  writeFileSync(join(folder, 'gpu-x-H100.json'), 'no');
  expect(() => measuredRuns(folder)).toThrow(/can't be read: .*JSON/);
  rmSync(folder, { recursive: true });
});
