/**
 * What holds for the workspace as a whole: the lessons that are one file each, a test for each source file, and a lock
 * file that installs from any registry on any platform.
 */
import ts from 'typescript';
import { parse, type Source } from './sources.ts';

const oneFilePackages = [
  'train',
  'model',
  'data-parallel',
  'tensor-parallel',
  'pipeline-parallel',
  'context-parallel',
].map((name) => `packages/${name}/src/`);

/** The packages that are one lesson have one source file. One that isn't written yet has none, and no complaint. */
export function checkOneFile(paths: readonly string[]): string[] {
  return oneFilePackages.flatMap((folder) => {
    const count = paths.filter((path) => path.startsWith(folder)).length;
    return count > 1 ? [`${folder} holds ${count} source files: this package is one file`] : [];
  });
}

/** Types and re-exports alone leave nothing to run, so nothing to test. */
function hasCode(source: Source): boolean {
  const silent = [ts.isImportDeclaration, ts.isExportDeclaration, ts.isInterfaceDeclaration, ts.isTypeAliasDeclaration];
  return parse(source).statements.some((statement) => !silent.some((isSilent) => isSilent(statement)));
}

/**
 * Each source file x.ts has a test x.test.ts in its package's test folder; for part/x.ts, part-x.test.ts will do too,
 * and part.test.ts for part/index.ts.
 * A main.ts is a command's entry, tested by starting it; files of types and re-exports have nothing to test.
 */
export function checkTested(sources: readonly Source[]): string[] {
  const paths = sources.map(({ path }) => path);
  return sources.flatMap((source) => {
    const [, folder, inner] = /^(.*?)\/src\/(.*)\.ts$/.exec(source.path) ?? [];
    const name = inner?.split('/').at(-1);
    if (!inner || !name || name === 'main' || !hasCode(source)) return [];
    const names = [name, inner.replaceAll('/', '-'), inner.replace(/\/index$/, '')];
    const isTest = (path: string): boolean =>
      path.startsWith(`${folder}/test/`) && names.some((one) => path.endsWith(`/${one}.test.ts`));
    return paths.some(isTest) ? [] : [`${source.path} has no test: expected ${folder}/test/${name}.test.ts`];
  });
}

interface Lock {
  readonly packages: Record<string, { resolved?: string; optionalDependencies?: Record<string, string> }>;
}

/**
 * No address of a registry, so that any mirror does; and an entry for every optional package of a platform, without
 * which `npm ci` refuses the whole file. npm leaves such an entry out when its registry lacks the package just then.
 */
export function checkLock(text: string): string[] {
  const { packages } = JSON.parse(text) as Lock;
  return Object.entries(packages).flatMap(([path, entry]) => {
    const address = entry.resolved?.startsWith('http') ? [`package-lock.json: ${path} names ${entry.resolved}`] : [];
    const has = (name: string): boolean =>
      `${path}/node_modules/${name}` in packages || `node_modules/${name}` in packages;
    const missing = Object.keys(entry.optionalDependencies ?? {}).filter((name) => !has(name));
    return [...address, ...missing.map((name) => `package-lock.json has no entry for ${name}, optional for ${path}`)];
  });
}
