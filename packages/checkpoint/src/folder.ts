/**
 * A folder of checkpoints. A checkpoint is there under its own name as a whole, or not at all:
 *
 *     step-000110/                       whole: checkpoint.json, and the files that it names
 *     step-000120.partial/               being written; its name changes when every rank's file is on the disk
 *     step-000100.damaged/               found damaged, kept to be looked at
 *
 * Renaming a folder happens at once or not at all, so a kill at any moment leaves the older checkpoints and, at most, a
 * .partial that the next run removes.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { type Manifest, parseManifest } from './manifest.ts';
import { useSynced } from './safetensors.ts';

const MANIFEST = 'checkpoint.json';
const PARTIAL = '.partial';

export const nameOf = (step: number): string => `step-${String(step).padStart(6, '0')}`;
export const partialOf = (folder: string, step: number): string => join(folder, nameOf(step) + PARTIAL);

/**
 * The names of the complete checkpoints in a folder, newest first; none where there is no folder.
 *
 * @throws UserError where there is one that can't be read
 */
export async function listCheckpoints(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new UserError(`${folder} can't be read for checkpoints: ${messageOf(error)}`);
  });
  return names.filter((name) => /^step-\d{6,12}$/.test(name)).sort((a, b) => stepOf(b) - stepOf(a));
}

/** The step that a checkpoint's name tells. */
export const stepOf = (name: string): number => Number(basename(name).slice('step-'.length));

/**
 * Makes the folder if need be, and removes what a killed run began. For one rank, before any of them writes.
 *
 * @throws UserError where the folder can't be written
 */
export async function openFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    for (const name of await readdir(folder))
      if (name.startsWith('step-') && name.endsWith(PARTIAL)) await rm(join(folder, name), { recursive: true });
  } catch (error) {
    throw new UserError(`checkpoints=${folder} can't be written (${messageOf(error)}): name a folder that can`);
  }
}

/** Makes a checkpoint visible whose files are all on the disk, and removes all but the `keep` newest (0: none). */
export async function publish(folder: string, manifest: Manifest, keep: number): Promise<void> {
  const [partial, path] = [partialOf(folder, manifest.step), join(folder, nameOf(manifest.step))];
  await useSynced(join(partial, MANIFEST), 'w', (file) => writeFile(file, `${JSON.stringify(manifest, null, 2)}\n`));
  await sync(partial);
  await rename(partial, path);
  await sync(folder);
  const old = keep > 0 ? (await listCheckpoints(folder)).slice(keep) : [];
  for (const name of old) await remove(folder, name);
}

/** Under another name first: half a checkpoint must not look like a whole one. */
async function remove(folder: string, name: string): Promise<void> {
  const doomed = join(folder, name + PARTIAL);
  await rename(join(folder, name), doomed);
  await rm(doomed, { recursive: true });
}

const sync = (path: string): Promise<void> => useSynced(path, 'r', async () => {});

/** Takes a damaged checkpoint out of the way of one that will have its name. */
export async function setAside(folder: string, name: string): Promise<void> {
  const aside = join(folder, `${name}.damaged`);
  await rm(aside, { recursive: true, force: true });
  await rename(join(folder, name), aside);
}

/** What a checkpoint says of itself. Throws UserError where that makes no sense. */
export async function readManifest(path: string): Promise<Manifest> {
  const text = await readFile(join(path, MANIFEST), 'utf8').catch((error: unknown) => {
    throw new UserError(`${path} is no checkpoint: ${messageOf(error)}`);
  });
  return parseManifest(text, path);
}
