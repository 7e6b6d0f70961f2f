/**
 * What the API's pages are about: the entries of the packages, as their package.json files export them.
 *
 *     packages/process-group/package.json:  "exports": { ".": "./src/index.ts", "./mesh": "./src/mesh.ts" }
 *
 * are two entries, `@fourfold/process-group` and `@fourfold/process-group/mesh`, each a page. An export that leads to a
 * test or to a command's main.ts is for this repository's own use and has no page.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** One thing that a program can import: its name, its source file, how that opens, and the page that tells of it. */
export interface Entry {
  readonly name: string;
  readonly packageName: string;
  readonly file: string;
  readonly opening: string;
  readonly page: string;
}

/** Node's conditions: the same entry for a browser and for Node. The pages tell of Node's. */
type Target = string | { readonly default: string };

interface Manifest {
  readonly name: string;
  readonly exports: Target | Readonly<Record<`.${string}`, Target>>;
}

const fileOf = (target: Target): string => (typeof target === 'string' ? target : target.default);
const isPublic = (file: string): boolean => file.startsWith('./src/') && !file.endsWith('/main.ts');

/** "exports" as a list of [".", "./src/index.ts"]; it may also be one file or one choice of files. */
function exportsOf({ exports }: Manifest): [path: string, file: string][] {
  if (typeof exports === 'string' || 'default' in exports) return [['.', fileOf(exports as Target)]];
  return Object.entries(exports).map(([path, target]) => [path, fileOf(target)]);
}

/** The comment that a file opens with, as markdown: its pictures, which are indented, in fences. */
export function openingOf(text: string): string {
  const comment = /^\/\*\*([\s\S]*?)\*\//.exec(text)?.[1] ?? '';
  const lines = comment.split('\n').map((line) => line.replace(/^ \* ?/, '').trimEnd());
  const opening = lines.join('\n').trim();
  return opening.replace(/(?<=^|\n)(?: {2,}.*\n+)*(?: {2,}.*)(?=\n|$)/g, (picture) => `\`\`\`text\n${picture}\n\`\`\``);
}

function entriesOf(folder: string): Entry[] {
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
  const entries = exportsOf(manifest).filter(([, file]) => isPublic(file));
  return entries.map(([path, file]) => {
    const name = manifest.name + path.slice(1);
    return {
      name,
      packageName: manifest.name,
      file: join(folder, file),
      opening: openingOf(readFileSync(join(folder, file), 'utf8')),
      page: name.replace('@fourfold/', '').replaceAll('/', '.'),
    };
  });
}

/** Every entry of every package below `root`/packages, in the order of their names. */
export const readEntries = (root: string): Entry[] =>
  readdirSync(join(root, 'packages'))
    .sort()
    .flatMap((name) => entriesOf(join(root, 'packages', name)));
