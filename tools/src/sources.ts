/**
 * Reads the repository's source files and package.json files for the house checks.
 *
 * A check is a function from these to complaints, each a sentence that begins with the file: an empty list is a pass.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import ts from 'typescript';

/** A file's path from the repository's root, with forward slashes, and what it holds. */
export interface Source {
  readonly path: string;
  readonly text: string;
}

/** The parts of a package.json that the checks read, and the folder it lies in. */
export interface Manifest {
  readonly folder: string;
  readonly name: string;
  readonly dependencies: readonly string[];
}

const sourceNames = /\.(ts|mjs|py|cc|cu)$/;
const skippedFolders = new Set(['node_modules', 'coverage', 'out', '__pycache__']);
const isSkipped = (folder: string): boolean => folder.startsWith('.') || skippedFolders.has(folder);

/** Every file below `root` whose name `wanted` accepts, outside folders that hold nothing of ours. */
export function readSources(root: string, wanted = (name: string): boolean => sourceNames.test(name)): Source[] {
  const walk = (folder: string): string[] =>
    readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return isSkipped(entry.name) ? [] : walk(path);
      return entry.isFile() && wanted(entry.name) ? [path] : [];
    });
  return walk(root).map((path) => ({
    path: relative(root, path).split(sep).join('/'),
    text: readFileSync(path, 'utf8'),
  }));
}

/** Every package.json below `root`, with the names of what it may import. */
export function readManifests(root: string): Manifest[] {
  return readSources(root, (name) => name === 'package.json').map(({ path, text }) => {
    const parsed = JSON.parse(text) as Record<string, Record<string, string>> & { name: string };
    const declared = ['dependencies', 'devDependencies', 'peerDependencies', 'optionalDependencies'];
    return {
      folder: path.split('/').slice(0, -1).join('/'),
      name: parsed.name,
      dependencies: declared.flatMap((kind) => Object.keys(parsed[kind] ?? {})),
    };
  });
}

/** The syntax tree of a TypeScript or JavaScript file. */
export const parse = ({ path, text }: Source): ts.SourceFile =>
  ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true);

/** Whether the file is code that TypeScript can parse. */
export const isScript = ({ path }: Source): boolean => /\.(ts|mjs)$/.test(path);
