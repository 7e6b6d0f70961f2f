/** A benchmark as a user runs it, and a stand-in for the Python that it compares with. */
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect } from 'vitest';

/** A folder that goes when the tests of a file have run. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-bench-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** The settings of a training run that takes seconds. */
export const tiny = { model: 'nano', steps: 2, seqLength: 16, microBatchSize: 2 };

/** Runs a script of src, such as 'cpu.ts', to its end. */
export function bench(
  script: string,
  ...flags: readonly string[]
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const path = fileURLToPath(new URL(`../src/${script}`, import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', path, ...flags]);
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      said[stream] += text;
    });
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, ...said })));
}

/** The cells of a table's line. */
export const cellsOf = (line = ''): string[] => line.trim().split(/ {2,}/);

/** A program in `folder` that takes Python's place: what it does for `python -c 'import torch'`, and for any script. */
export function python(folder: string, name: string, onImport: string, onScript: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\nif [ "$1" = -c ]; then ${onImport}; else ${onScript}; fi\n`);
  chmodSync(path, 0o755);
  return path;
}

/** Runs a script with flags that it must refuse, in one sentence and with exit code 2, before it says anything. */
export async function expectRefused(sentence: RegExp, script: string, ...flags: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await bench(script, ...flags);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(sentence);
  expect(stderr.trimEnd()).not.toContain('\n');
}
