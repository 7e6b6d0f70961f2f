/**
 * Where things are: the repository on this disk, and the repository on the web.
 *
 * The address is `repository.url` of the root's package.json, so a fork changes one line.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root, without a slash at its end. */
export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { repository: { url: string } };

/** `git+https://host/owner/name.git`, as npm writes it, to the page that a browser opens. */
export const pageOf = (url: string): string => url.replace(/^git\+/, '').replace(/\.git$/, '');

export const repository = pageOf(manifest.repository.url);

/** A file's or folder's page in the repository; undefined where the repository has no such thing. */
export function addressOf(path: string, folder = root, home = repository): string | undefined {
  const full = join(folder, path);
  if (!existsSync(full)) return undefined;
  return `${home}/${statSync(full).isDirectory() ? 'tree' : 'blob'}/main/${path.replace(/\/$/, '')}`;
}
