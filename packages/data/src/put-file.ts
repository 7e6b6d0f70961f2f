/**
 * Files that are either whole or not there.
 *
 * A file is written in a new folder beside the place where it belongs, brought to the disk, and renamed. Renaming
 * within a file system happens at once or not at all, so a reader never meets half a file, whenever the writer is
 * killed; and two processes that write the same file at the same time don't need to know of each other: the last one
 * wins, and whoever has the other one's file open keeps reading that.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';

/**
 * Puts a file at `path`. `write` makes it at the path it is given, whose folder is its own to work in.
 *
 * @throws UserError where the folder can't be written: no permission, a read-only or a full disk
 */
export async function putFile(path: string, write: (temporary: string) => Promise<void>): Promise<void> {
  const folder = workFolder(dirname(path));
  try {
    const temporary = join(folder, basename(path));
    await write(temporary);
    sync(temporary);
    renameSync(temporary, path);
  } catch (error) {
    throw asUserError(error, dirname(path));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const UNFINISHED = 'unfinished-';
const DAY = 86_400_000; // milliseconds

/** A new folder beside the file to come. Those that killed processes left behind go when they are a day old. */
function workFolder(parent: string): string {
  try {
    mkdirSync(parent, { recursive: true });
    for (const name of readdirSync(parent).filter((name) => name.startsWith(UNFINISHED))) {
      const started = statSync(join(parent, name), { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
      if (Date.now() - started > DAY) rmSync(join(parent, name), { recursive: true, force: true });
    }
    return mkdtempSync(join(parent, UNFINISHED));
  } catch (error) {
    throw asUserError(error, parent);
  }
}

/** Waits until a file's bytes are on the disk: a rename can get there before them. */
function sync(path: string): void {
  const handle = openSync(path, 'r+');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

const DISK_TROUBLE: Record<string, string> = {
  EACCES: 'no permission',
  EPERM: 'no permission',
  EROFS: 'the disk is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota is used up',
  ENOTDIR: 'a file is in the way',
  EEXIST: 'a file is in the way',
};

/** What the user can mend about a failed write, in a sentence; other errors as they are. */
function asUserError(error: unknown, folder: string): unknown {
  const trouble = DISK_TROUBLE[(error as NodeJS.ErrnoException).code ?? ''];
  if (!trouble) return error;
  return new UserError(`The cache folder ${folder} can't be written (${trouble}): set FOURFOLD_CACHE to one that can`);
}
