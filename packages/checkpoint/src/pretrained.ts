/**
 * A model that was trained elsewhere, by the name of a folder, a file or one that was fetched.
 *
 *     --initFrom ~/models/SmolLM2-135M               a folder from Hugging Face
 *     --initFrom SmolLM2-135M-Instruct.Q4_1.gguf     a GGUF file
 *     --initFrom smollm2-135m                        what `npx nx run model:fetch -- smollm2-135m` put into the cache
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDirectory } from '@fourfold/runtime/cache';
import { UserError } from '@fourfold/runtime/errors';
import { openLlamaGguf } from './gguf/llama.ts';
import { openFolder } from './huggingface/folder.ts';
import type { Pretrained } from './weights.ts';

/** Where fetched models are: models/smollm2-135m, models/HuggingFaceTB/SmolLM2-135M. */
export const modelFolder = (name: string, cache = cacheDirectory()): string => join(cache, 'models', name);

/** A name as model:fetch takes it: one word or two with a slash between, none of them "..". */
export const isModelName = (name: string): boolean => /^[A-Za-z0-9_][\w.-]*(\/[A-Za-z0-9_][\w.-]*)?$/.test(name);

/**
 * Opens a model; `key` is the setting that named it, for messages.
 *
 * @throws UserError where there is none, or it isn't sound
 */
export async function openPretrained(name: string, key = 'initFrom', cache = cacheDirectory()): Promise<Pretrained> {
  const path = placeOf(name, key, cache);
  return path.endsWith('.gguf') ? openLlamaGguf(path) : openFolder(path);
}

/**
 * The path of a folder or a .gguf file. A path is taken before a fetched model's name.
 *
 * @throws UserError where it is neither; `key` is the setting's name, for the message
 */
export function placeOf(name: string, key: string, cache = cacheDirectory()): string {
  const fetched = isModelName(name) ? [modelFolder(name, cache)] : [];
  for (const path of [name, ...fetched]) {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats?.isFile() && path.endsWith('.gguf')) return path;
    if (!stats?.isDirectory()) continue;
    const names = readdirSync(path);
    const ggufs = names.filter((each) => each.endsWith('.gguf'));
    return !names.includes('config.json') && ggufs.length === 1 ? join(path, ggufs[0] as string) : path;
  }
  throw new UserError(
    `${key}=${name} is no model here: give a folder with config.json, a .gguf file, ` +
      'or a name after npx nx run model:fetch -- NAME',
  );
}
