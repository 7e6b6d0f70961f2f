/** The export command as a process. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect } from 'vitest';

const script = fileURLToPath(new URL('../src/export.ts', import.meta.url));
export const tiny = fileURLToPath(new URL('../../checkpoint/test/fixtures/tiny.gguf', import.meta.url));
export const folder = mkdtempSync(join(tmpdir(), 'fourfold-export-command-'));
afterAll(() => rmSync(folder, { recursive: true }));

export const command = (...args: string[]) =>
  spawnSync(process.execPath, ['--import', 'tsx', script, ...args], { encoding: 'utf8' });

/** It ends with 2 and one sentence. */
export function expectRefused(args: readonly string[], sentence: RegExp): void {
  const { status, stderr } = command(...args);
  expect(stderr.trim()).toMatch(sentence);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(status).toBe(2);
}
