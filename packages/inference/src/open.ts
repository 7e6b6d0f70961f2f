/**
 * Opens a model by what names it: a folder, a .gguf file, or a name after `npx nx run model:fetch -- NAME`.
 */
import { placeOf } from '@fourfold/checkpoint';
import { openModelFolder } from './folder.ts';
import { openModelGguf } from './gguf.ts';
import type { StoredModel } from './stored.ts';

/**
 * Opens the model; reads headers alone.
 *
 * @param key the setting that named it, for messages
 * @param cache where fetched models are; default: the user's cache
 * @throws UserError where there is none, or it isn't sound, or none that is computed here
 */
export async function openModel(name: string, key = 'model', cache?: string): Promise<StoredModel> {
  const path = placeOf(name, key, cache);
  return path.endsWith('.gguf') ? openModelGguf(path) : openModelFolder(path);
}
