/**
 * The import ladder: a package imports packages on lower rungs only, and what it imports it declares.
 *
 *     bench docs labs notebooks tools
 *     fourfold
 *     cluster
 *     train
 *     run
 *     plan
 *     inference settings
 *     data-parallel tensor-parallel pipeline-parallel context-parallel
 *     model
 *     optim
 *     chromium cli checkpoint data metrics
 *     ops
 *     process-group
 *     runtime
 *
 * Packages on one rung don't know each other, so the four ways to be parallel stay apart and `train` alone joins them.
 * nx draws its graph from the package.json files; since these declare what is imported, that graph is this ladder.
 */
import { builtinModules } from 'node:module';
import { dirname, normalize } from 'node:path/posix';
import ts from 'typescript';
import { isScript, type Manifest, type Source } from './sources.ts';

/** Lowest first. */
export const rungs: readonly (readonly string[])[] = [
  ['runtime'],
  ['process-group'],
  ['ops'],
  ['chromium', 'cli', 'checkpoint', 'data', 'metrics'],
  ['optim'],
  ['model'],
  ['context-parallel', 'pipeline-parallel', 'tensor-parallel', 'data-parallel'],
  ['inference', 'settings'],
  ['plan'],
  ['run'],
  ['train'],
  ['cluster'],
  ['fourfold'],
  ['bench', 'docs', 'labs', 'notebooks', 'tools'],
];

const scope = '@fourfold/';
const rungOf = (name: string): number => rungs.findIndex((rung) => rung.includes(name.replace(scope, '')));
const isBelow = (lower: string, upper: string): boolean => rungOf(lower) >= 0 && rungOf(lower) < rungOf(upper);

/** `@scope/name/part` and `name/part` to the package's name. */
const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

/** The innermost package that a file lies in. */
const ownerOf = (path: string, manifests: readonly Manifest[]): Manifest | undefined =>
  manifests
    .filter(({ folder }) => folder === '' || path.startsWith(`${folder}/`))
    .sort((a, b) => b.folder.length - a.folder.length)[0];

/** Complaints about what one file imports. The repository's root may import everything: it is no package. */
export function checkImports(source: Source, manifests: readonly Manifest[]): string[] {
  const owner = ownerOf(source.path, manifests);
  if (!owner || !isScript(source)) return [];
  const declared = new Set(manifests.filter(({ folder }) => folder === '').flatMap((m) => m.dependencies));
  for (const name of owner.dependencies) declared.add(name);
  const problemWith = (specifier: string): string | undefined => {
    if (specifier.startsWith('.')) return leaves(source.path, specifier, owner) ? 'leaves its package' : undefined;
    if (specifier.startsWith('node:') || builtinModules.includes(specifier)) return undefined;
    const name = packageOf(specifier);
    if (name === owner.name || owner.folder === '') return undefined;
    if (name.startsWith(scope) && !isBelow(name, owner.name)) return `is not below ${owner.name} on the ladder`;
    return declared.has(name) ? undefined : `is not declared in ${owner.folder}/package.json`;
  };
  return ts.preProcessFile(source.text).importedFiles.flatMap(({ fileName }) => {
    const problem = problemWith(fileName);
    return problem ? [`${source.path}: the import of '${fileName}' ${problem}`] : [];
  });
}

const leaves = (path: string, specifier: string, owner: Manifest): boolean =>
  owner.folder !== '' && !normalize(`${dirname(path)}/${specifier}`).startsWith(`${owner.folder}/`);

/** Complaints about what a package.json declares: the same rule, since nx's graph is made of these. */
export const checkDeclared = ({ folder, name, dependencies }: Manifest): string[] =>
  dependencies
    .filter((dependency) => folder !== '' && dependency.startsWith(scope) && !isBelow(dependency, name))
    .map((dependency) => `${folder}/package.json: ${dependency} is not below ${name} on the ladder`);
