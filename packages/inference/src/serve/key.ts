/**
 * The key that a server may want: from a file, which only its owner need read, or from a variable.
 *
 *     Authorization: Bearer 0f3a...
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { messageOf, UserError } from '@fourfold/runtime/errors';

/**
 * Whether a header brings the key. Hashes are compared, and in constant time: how long it takes tells nothing of how
 * much of a guess was right, nor of the key's length.
 */
export function isKey(header: string | undefined, key: string): boolean {
  const [, given] = /^Bearer +(\S+) *$/i.exec(header ?? '') ?? [];
  if (given === undefined) return false;
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(given), hash(key));
}

/**
 * The key in a file, else the variable's; undefined where there is neither.
 *
 * @throws UserError where the file can't be read, or what is there is no key
 */
export function readKey(file: string | undefined, variable: string | undefined): string | undefined {
  const [text, where] = file === undefined ? [variable, 'FOURFOLD_API_KEY'] : [readFile(file), `apiKeyFile=${file}`];
  if (text === undefined) return undefined;
  const key = text.trim();
  if (/^\S{8,}$/.test(key)) return key;
  throw new UserError(`${where} holds no key: write one of at least 8 characters without spaces`);
}

function readFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`apiKeyFile=${path} can't be read (${messageOf(error)}): give a file with a key in it`);
  }
}
