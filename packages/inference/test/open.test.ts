/** Models by the name of a folder, a file, or one that was fetched. */
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { openModel } from '../src/open.ts';

const at = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const cache = mkdtempSync(join(tmpdir(), 'fourfold-open-'));
afterAll(() => rmSync(cache, { recursive: true }));

test('a folder, a file, and a fetched folder with one file in it', async () => {
  mkdirSync(join(cache, 'models', 'small'), { recursive: true });
  cpSync(at('mixtral.gguf'), join(cache, 'models', 'small', 'mixtral.gguf'));
  for (const [name, architecture] of [
    [at('qwen3'), 'qwen3'],
    [at('qwen3.gguf'), 'qwen3'],
    ['small', 'mixtral'],
  ] as const) {
    const model = await openModel(name, 'model', cache);
    expect(model.shape.architecture).toBe(architecture);
    model.close();
  }
});

test('what isn’t there is said with the setting that named it', async () => {
  await expect(openModel('nowhere', 'model', cache)).rejects.toThrow('model=nowhere is no model here: give a folder');
});
