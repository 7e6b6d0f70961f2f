/**
 * Writes the API's pages: typedoc reads the packages, typedoc-plugin-markdown writes one page for each entry.
 *
 * All packages are one TypeScript program, since what they share (tfjs's declarations, each other) is then read once.
 * Types are not checked here: each package's own typecheck does that.
 *
 * A warning is an error: an export without a comment, a type that a signature names and no entry exports, a link to
 * nothing. typedoc looks for types that aren't exported in one package at a time, so it is asked once for each.
 */

import { join, relative } from 'node:path';
import {
  Application,
  Comment,
  type DeclarationReflection,
  Logger,
  LogLevel,
  normalizePath,
  type ProjectReflection,
  ReflectionKind,
  TSConfigReader,
  type TypeDocOptions,
} from 'typedoc';
import type { PluginOptions } from 'typedoc-plugin-markdown';
import type { Entry } from './entries.ts';

/** What every exported symbol of these kinds must have: a comment. */
const documented: TypeDocOptions['requiredToBeDocumented'] = [
  'Function',
  'Class',
  'Interface',
  'TypeAlias',
  'Variable',
  'Method',
  'Property',
  'Accessor',
];

/**
 * What signatures name and no page tells of: zod's schemas, whose types are exported; what TensorFlow's backend has of
 * the CUDA module, and set-up of pip, which nobody calls from outside.
 */
const insides = [
  'checkpoint/src/manifest.ts:schema',
  'plan/src/machines.ts:machine',
  'runtime/src/cuda.ts:CudaModule',
  'runtime/src/setup/run.ts:Outcome',
];

/** One file for each entry, all in one folder; properties and parameters in tables, signatures in code. */
const look: Partial<PluginOptions> = {
  entryFileName: 'index',
  excludeScopesInPaths: true,
  flattenOutputFiles: true,
  hideBreadcrumbs: true,
  indexFormat: 'table',
  hidePageHeader: true,
  parametersFormat: 'table',
  interfacePropertiesFormat: 'table',
  classPropertiesFormat: 'table',
  typeAliasPropertiesFormat: 'table',
  useCodeBlocks: true,
  useHTMLAnchors: true, // the markdown's own may be of another heading: Lanes.cost and LanesCost are both lanescost
  sanitizeComments: true,
  tableColumnSettings: { hideModifiers: true, hideSources: true },
};

const optionsFor = (root: string, entries: readonly Entry[], out: string): Partial<TypeDocOptions> => ({
  ...(look as Partial<TypeDocOptions>),
  name: 'API',
  tsconfig: join(root, 'docs/tsconfig.api.json'),
  entryPoints: entries.map(({ file }) => file),
  alwaysCreateEntryPointModule: true,
  out,
  plugin: ['typedoc-plugin-markdown'],
  router: 'module',
  readme: 'none',
  logLevel: 'Warn',
  basePath: root,
  disableGit: true,
  sourceLinkTemplate: '{path}',
  skipErrorChecking: true,
  excludeExternals: true,
  excludePrivate: true,
  requiredToBeDocumented: documented,
  packagesRequiringDocumentation: [...new Set(entries.map(({ packageName }) => packageName))],
});

/**
 * typedoc's logger, keeping what it warns of. A field of an object type without a name, as a function's result may be,
 * is told of by what it belongs to.
 */
class Complaints extends Logger {
  readonly list: string[] = [];

  override log(message: string, level: LogLevel): void {
    if (level >= LogLevel.Warn && !message.includes('.__type.')) this.list.push(message);
  }
}

/** A module gets the name that an import says, and its file's opening comment, which is the lesson of the file. */
function describeModules(project: ProjectReflection, entries: readonly Entry[]): void {
  for (const module of project.children ?? []) {
    const entry = entries.find(({ file }) => module.sources?.[0]?.fullFileName === file);
    if (!entry) throw new Error(`typedoc's module ${module.name} is of no entry`);
    module.name = entry.name;
    module.comment = new Comment([{ kind: 'text', text: entry.opening }]);
    for (const symbol of module.children ?? []) dropBorrowed(symbol, entry.opening);
  }
}

/** typedoc gives a file's comment to what its first statement exports, where that has none of its own. */
function dropBorrowed(symbol: DeclarationReflection, opening: string): void {
  for (const one of [symbol, ...(symbol.signatures ?? [])])
    if (one.comment && Comment.combineDisplayParts(one.comment.summary).trim() === opening) delete one.comment;
}

/**
 * Where a symbol is defined, as a link that docs' own pages would write: from docs/api to the file. The site's rule for
 * links makes of it the walkthrough's page, or the repository's address.
 */
function linkSources(project: ProjectReflection, root: string): void {
  const sources = Object.values(project.reflections).flatMap((reflection) =>
    reflection.isDeclaration() || reflection.isSignature() ? (reflection.sources ?? []) : [],
  );
  for (const source of sources) {
    source.fileName = normalizePath(relative(root, source.fullFileName));
    source.url = `../../${source.fileName}#L${source.line}`;
  }
}

/** A parameter that is taken apart where it is declared, `({ a, b }: Options)`, is called `options`. */
function nameOptions(project: ProjectReflection): void {
  for (const parameter of project.getReflectionsByKind(ReflectionKind.Parameter))
    if (parameter.name === '__namedParameters') parameter.name = 'options';
}

const isIn = (packageName: string) => (path: string) => path.startsWith(`${packageName.replace('@fourfold/', '')}/`);

/** All that typedoc can check: comments and links at once, types that no entry exports package by package. */
function validate(application: Application, project: ProjectReflection, entries: readonly Entry[]): void {
  application.options.setValue('validation', { notDocumented: true, invalidLink: true, notExported: false });
  application.validate(project);
  application.options.setValue('validation', { notDocumented: false, invalidLink: false, notExported: true });
  for (const packageName of new Set(entries.map((entry) => entry.packageName))) {
    project.packageName = packageName;
    application.options.setValue('intentionallyNotExported', insides.filter(isIn(packageName)));
    application.validate(project);
  }
}

/** Writes a page for each entry into the folder `out`, unless there are complaints: these are returned. */
export async function generateApi(root: string, entries: readonly Entry[], out: string): Promise<readonly string[]> {
  const application = await Application.bootstrapWithPlugins(optionsFor(root, entries, out), [new TSConfigReader()]);
  const complaints = new Complaints();
  application.logger = complaints;
  const project = await application.convert();
  if (!project) return complaints.list;
  describeModules(project, entries);
  linkSources(project, root);
  nameOptions(project);
  validate(application, project, entries);
  if (complaints.list.length === 0) await application.generateOutputs(project);
  return complaints.list;
}
