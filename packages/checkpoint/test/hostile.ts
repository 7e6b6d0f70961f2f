/** Models whose files are hostile, kind by kind: each is opened, and where that succeeds all its weights are read. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { changedBytes, changedJson, ordeal } from '@fourfold/runtime/testing/hostile';
import { expect } from 'vitest';
import { openPretrained } from '../src/pretrained.ts';

const at = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
export const KINDS = ['safetensors', 'GGUF', 'config.json', 'index.json'] as const;

/** Which file of a model is changed, and where most of its changes fall. */
const FILES = {
  safetensors: ['model-00002-of-00004.safetensors', 1000],
  GGUF: ['tiny.gguf', 8000],
  'config.json': ['config.json', 0],
  'index.json': ['model.safetensors.index.json', 0],
} as const;

/** `count` hostile files of a kind: each is refused in a sentence or read, in bounded time and memory. */
export async function survive(kind: (typeof KINDS)[number], count: number): Promise<void> {
  const temporary = mkdtempSync(join(tmpdir(), 'fourfold-hostile-'));
  const [name, head] = FILES[kind];
  const folder = join(temporary, 'model');
  if (kind !== 'GGUF') cpSync(at('folder'), folder, { recursive: true });
  const path = kind === 'GGUF' ? join(temporary, name) : join(folder, name);
  const sound = readFileSync(kind === 'GGUF' ? at(name) : path);
  const outcomes = await ordeal(count, async (_, draw) => {
    writeFileSync(path, head > 0 ? changedBytes(sound, draw, head) : changedJson(JSON.parse(sound.toString()), draw));
    const { weights } = await openPretrained(kind === 'GGUF' ? path : folder);
    try {
      for (const tensor of weights.tensors.keys()) weights.read(tensor);
    } finally {
      weights.close();
    }
  });
  rmSync(temporary, { recursive: true });
  expect(outcomes.crashes).toEqual([]);
  expect(outcomes.taken + outcomes.refused).toBe(count);
  expect(outcomes.refused).toBeGreaterThan(count / 4); // the changes do reach what is checked
  expect(outcomes.longest).toBeLessThan(5000);
  expect(process.memoryUsage().rss).toBeLessThan(1.5e9);
}
