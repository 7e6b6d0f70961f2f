/**
 * Slices of weights on a worker's disk, by their SHA-256: what came over the network once need not come again.
 *
 *     ~/.cache/fourfold/slices/3f/3f9a...e1      the bytes whose hash is 3f9a...e1
 *
 * A file is written beside and renamed, so that it is there whole or not at all, and is read through its hash before it
 * is used: a slice that a disk has changed is fetched again.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { messageOf, UserError } from '@fourfold/runtime/errors';

export const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

export class SliceCache {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Whether the slice is here and sound; one that isn't is removed. Reads it all. */
  has(hash: string, bytes: number): boolean {
    const path = this.#path(hash);
    const isThere = statSync(path, { throwIfNoEntry: false })?.size === bytes;
    if (isThere && hashOf(this.read(hash)) === hash) return true;
    rmSync(path, { force: true });
    return false;
  }

  /** In memory of its own, as a tensor's bytes have to be: Node reads small files into a pool. */
  read(hash: string): Uint8Array {
    const path = this.#path(hash);
    const bytes = new Uint8Array(statSync(path).size);
    const file = openSync(path, 'r');
    try {
      readSync(file, bytes);
    } finally {
      closeSync(file);
    }
    return bytes;
  }

  /**
   * Keeps a slice.
   *
   * @throws UserError where the folder can't be written, or the disk is full
   */
  write(hash: string, bytes: Uint8Array): void {
    const path = this.#path(hash);
    const beside = `${path}.${randomBytes(6).toString('hex')}`;
    try {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(beside, bytes);
      renameSync(beside, path);
    } catch (error) {
      if (existsSync(beside)) rmSync(beside);
      throw new UserError(`--cache ${this.#folder} can't be written: ${messageOf(error)}`);
    }
  }

  #path(hash: string): string {
    if (!/^[\da-f]{64}$/.test(hash)) throw new Error('a slice is named by the 64 digits of its hash');
    return join(this.#folder, hash.slice(0, 2), hash);
  }
}
