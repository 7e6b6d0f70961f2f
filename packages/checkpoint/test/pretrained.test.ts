import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, expect, test } from 'vitest';
import { isModelName, modelFolder, openPretrained } from '../src/pretrained.ts';

const at = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const cache = mkdtempSync(join(tmpdir(), 'fourfold-pretrained-'));
afterAll(() => rmSync(cache, { recursive: true }));

test('a folder, a file, a folder with one file, and what is in the cache by name', async () => {
  mkdirSync(modelFolder('tiny', cache), { recursive: true });
  copyFileSync(at('tiny.gguf'), join(modelFolder('tiny', cache), 'a.gguf'));
  cpSync(at('folder'), modelFolder('someone/model', cache), { recursive: true });
  const dims: number[] = [];
  for (const name of [at('folder'), at('tiny.gguf'), modelFolder('tiny', cache), 'tiny', 'someone/model']) {
    const { shape, weights } = await openPretrained(name, 'initFrom', cache);
    dims.push(shape.dim);
    weights.close();
  }
  expect(dims).toEqual([16, 64, 64, 64, 16]);
});

test('what is not there is refused, and a name never leads out of the cache', async () => {
  const sentence = /^from=none is no model here: give a folder with config.json, a .gguf file, or a name after npx nx/;
  await expect(openPretrained('none', 'from', cache)).rejects.toThrow(sentence);
  await expect(openPretrained('none', 'from', cache)).rejects.toThrow(UserError);
  for (const name of ['..', '../x', 'a/..', 'a/b/c', '/etc', '.hidden', '', 'a/', 'a b'])
    expect(isModelName(name)).toBe(false);
  for (const name of ['smollm2-135m', 'HuggingFaceTB/SmolLM2-135M', 'a_b.c']) expect(isModelName(name)).toBe(true);
});
