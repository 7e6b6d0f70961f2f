/**
 * Which source files have a walkthrough, and where its page is.
 *
 * A group is a folder of the repository. Its files come in the order in which they are best read: those named `first`,
 * then the rest by name, folders last. A page's address is its file's path, without `packages/` and `src/`:
 *
 *     packages/ops/src/linear.ts            /walk/ops/linear.ts.html
 *     packages/runtime/native/cuda/rope.cu  /walk/runtime/native/cuda/rope.cu.html
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../site.ts';

/** A folder of files that belong together, in the order of the sidebar. */
export interface Group {
  readonly folder: string;
  readonly title: string;
  /** One sentence; a package's comes from its package.json. */
  readonly about: string;
  /** The files from the repository's root. */
  readonly files: readonly string[];
}

/** A package's src, or a folder of native code with its own sentence. */
interface Listed {
  readonly folder: string;
  readonly first?: readonly string[];
  readonly about?: string;
}

const native = (name: string, about: string, first: readonly string[] = []): Listed => ({
  folder: `packages/runtime/native/${name}`,
  about,
  first,
});

/** From the idea of a layer to the kernels. */
const listed: readonly Listed[] = [
  { folder: 'packages/ops/src', first: ['layer.ts', 'parameter.ts', 'linear.ts', 'rms-norm.ts', 'rope.ts'] },
  { folder: 'packages/model/src' },
  { folder: 'packages/process-group/src', first: ['process-group.ts', 'mesh.ts', 'world.ts', 'local/local.ts'] },
  { folder: 'packages/data-parallel/src' },
  { folder: 'packages/tensor-parallel/src' },
  { folder: 'packages/pipeline-parallel/src' },
  { folder: 'packages/context-parallel/src' },
  { folder: 'packages/train/src' },
  native('cuda', 'Kernels for NVIDIA GPUs, compiled when they are first used, and the TensorFlow ops that start them.'),
  native('nccl', 'Collectives between GPUs, on a stream of their own.', ['nccl.h', 'nccl.cc']),
  native('ops', 'The same operations on a CPU, one pass over memory each.', ['kernel.h', 'ops.cc']),
];

const sourceNames = /\.(ts|cu|cuh|cc|h)$/;

/** Files below a folder, deeper ones after those beside them. */
export function filesIn(folder: string): string[] {
  const entries = readdirSync(join(root, folder), { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  const files = entries.filter((entry) => entry.isFile() && sourceNames.test(entry.name));
  const folders = entries.filter((entry) => entry.isDirectory());
  return [
    ...files.map(({ name }) => `${folder}/${name}`),
    ...folders.flatMap(({ name }) => filesIn(`${folder}/${name}`)),
  ];
}

function groupOf({ folder, first = [], about }: Listed): Group {
  const leading = first.map((name) => `${folder}/${name}`);
  const files = [...leading, ...filesIn(folder).filter((file) => !leading.includes(file))];
  return { folder, title: shortOf(folder), about: about ?? descriptionOf(folder), files };
}

function descriptionOf(folder: string): string {
  const manifest = readFileSync(join(root, folder, '../package.json'), 'utf8');
  return (JSON.parse(manifest) as { description: string }).description;
}

/** A path as pages and readers know it. */
export const shortOf = (path: string): string => path.replace(/^packages\//, '').replace(/\/src(?=\/|$)/, '');

/** All groups, read from the disk. */
export const groups = (): Group[] => listed.map(groupOf);

/** The page of a file's walkthrough, without the site's base. */
export const linkOf = (file: string): string => `/walk/${shortOf(file)}.html`;
