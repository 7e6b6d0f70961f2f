/**
 * Finds the checkpoint to go on from: the newest that is whole, with every byte as it was written.
 *
 * All ranks look together, each at its share of the files, and learn what the others found; so they decide alike.
 */
import { join } from 'node:path';
import { gatherObjects, type ProcessGroup } from '@fourfold/process-group';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { listCheckpoints, readManifest, setAside, stepOf } from './folder.ts';
import { type Manifest, problemOf } from './manifest.ts';

/** A checkpoint that was found sound. */
export interface Found {
  /** Its folder. */
  readonly path: string;
  /** What it says of itself. */
  readonly manifest: Manifest;
}

/**
 * The newest sound checkpoint in a folder, if any. `say` hears of damaged ones, which are passed over and, if the run
 * writes there, renamed: theirs are the names of checkpoints to come.
 *
 * @param writes whether the run writes there; default true
 * @throws UserError on all ranks where the folder can't be read
 */
export async function findNewest(
  world: ProcessGroup,
  folder: string,
  say: (sentence: string) => void,
  { writes = true } = {},
): Promise<Found | undefined> {
  const [names = []] = await fromAll(world, async () => (world.rank === 0 ? listCheckpoints(folder) : []));
  for (const name of names) {
    const found = await look(world, join(folder, name));
    if (!('problem' in found)) return found;
    say(`${join(folder, name)} is passed over: ${found.problem}`);
    await fromAll(world, async () => (writes && world.rank === 0 ? setAside(folder, name) : undefined));
  }
  return undefined;
}

/** A checkpoint by its path, or the newest in a folder of them. Throws UserError where there is no sound one. */
export async function findAt(world: ProcessGroup, path: string, say: (sentence: string) => void): Promise<Found> {
  const [inside] = await fromAll(world, async () => (world.rank === 0 ? (await listCheckpoints(path)).length : 0));
  const found = inside ? await findNewest(world, path, say, { writes: false }) : await look(world, path);
  if (!found) throw new UserError(`resume=${path} holds no sound checkpoint: name another folder, or none`);
  if ('problem' in found) throw new UserError(`resume=${path}: ${found.problem}; name another checkpoint, or none`);
  return found;
}

/**
 * Refuses to train into a folder that holds later steps than the one to begin at.
 *
 * @throws UserError where it does
 */
export async function checkNothingLater(world: ProcessGroup, folder: string, step: number): Promise<void> {
  const [names = []] = await fromAll(world, async () => (world.rank === 0 ? listCheckpoints(folder) : []));
  const [newest] = names;
  if (newest === undefined || stepOf(newest) <= step) return;
  throw new UserError(
    `checkpoints=${folder} holds ${newest} already: go on there by resume=auto, or name another folder`,
  );
}

/** Reads a checkpoint's manifest, and all of its files. */
async function look(world: ProcessGroup, path: string): Promise<Found | { problem: string }> {
  const findings = await fromAll(world, async () => {
    const manifest = await readManifest(path).catch((error: unknown) => ({ problem: messageOf(error) }));
    if ('problem' in manifest) return manifest;
    for (const [i, file] of manifest.files.entries()) {
      const problem = i % world.size === world.rank ? await problemOf(path, file) : undefined;
      if (problem) return { problem };
    }
    return { manifest };
  });
  for (const finding of findings) if ('problem' in finding) return finding;
  return { path, ...(findings[0] as { manifest: Manifest }) };
}

/** What each rank's work gives. Where that of one fails, all throw its error. */
async function fromAll<T>(world: ProcessGroup, work: () => Promise<T>): Promise<T[]> {
  const mine = await work().then(
    (value) => ({ value }),
    (error: unknown) => ({ sentence: messageOf(error) }),
  );
  const all = await gatherObjects<{ value?: T; sentence?: string }>(world, mine);
  return all.map(({ value, sentence }) => {
    if (sentence !== undefined) throw new UserError(sentence);
    return value as T;
  });
}
