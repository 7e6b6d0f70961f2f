/**
 * Where Fourfold keeps what it downloads and builds: one folder per user, shared by all clones.
 *
 * TensorFlow, texts and tokens live here, each under a name that carries its version or a hash of its content, so
 * nothing in it ever goes stale; deleting the whole folder only costs the time to fetch it again.
 */
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

/**
 * The cache folder's absolute path (it need not exist yet): `chosen` where given, else $FOURFOLD_CACHE, else `fourfold`
 * in $XDG_CACHE_HOME, else ~/.cache/fourfold. The XDG rules say to ignore a relative $XDG_CACHE_HOME.
 */
export function cacheDirectory(chosen?: string): string {
  const own = chosen || process.env['FOURFOLD_CACHE'];
  if (own) return resolve(own);
  const shared = process.env['XDG_CACHE_HOME'];
  return join(shared && isAbsolute(shared) ? shared : join(homedir(), '.cache'), 'fourfold');
}
