/**
 * Files that a model comes in, read with bounds: what is named must be a file, and no longer than it may be.
 *
 * A pipe or a device in a model's folder would be read for ever, a text of gigabytes would fill the memory: both are
 * refused before they are opened.
 */
import { openSync, readFileSync, readSync, statSync } from 'node:fs';
import { messageOf, UserError } from '@fourfold/runtime/errors';

/** Whether there is a plain file, or a link to one. */
export const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;

/** The text of a file of at most so many bytes. Throws UserError where it is none, or longer, or not UTF-8. */
export function readText(path: string, most: number): string {
  const size = checkFile(path);
  if (size > most) throw new UserError(`${path} has ${size} bytes: a file of this name has at most ${most}`);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    throw new UserError(`${path} can't be read: ${messageOf(error)}`);
  }
}

/**
 * What a JSON file of at most so many bytes holds, unchecked. Throws UserError as readText does, and where it is no
 * JSON.
 */
export function readJson(path: string, most: number): unknown {
  const text = readText(path, most);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${path} is not valid JSON: ${messageOf(error)}`);
  }
}

/** The bytes of a file; a UserError where there is none. */
function checkFile(path: string): number {
  try {
    const stats = statSync(path);
    if (stats.isFile()) return stats.size;
  } catch (error) {
    throw new UserError(`${path} can't be read: ${messageOf(error)}`);
  }
  throw new UserError(`${path} is no file`);
}

/** Opens a plain file to be read. Throws UserError where there is none. */
export function openFile(path: string): { file: number; size: number } {
  const size = checkFile(path);
  try {
    return { file: openSync(path, 'r'), size };
  } catch (error) {
    throw new UserError(`${path} can't be read: ${messageOf(error)}`);
  }
}

/** A value of a file in a message: short, and without looking into what may be nested endlessly. */
export function show(value: unknown): string {
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? '[...]' : '{...}';
  return value === undefined ? 'nothing' : JSON.stringify(typeof value === 'bigint' ? `${value}` : value).slice(0, 100);
}

/** Fills `bytes` from byte `at` of an open file on, while everything else waits. Throws Error where the file ends. */
export function fillSync(file: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length; ) {
    const got = readSync(file, bytes, done, Math.min(bytes.length - done, 2 ** 30), at + done);
    if (got === 0) throw new Error(`the file ends ${bytes.length - done} bytes too early`);
    done += got;
  }
}
