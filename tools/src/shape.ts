/**
 * The shape of a source file: under 300 lines, at most 120 columns, an opening comment, functions of at most 60 lines,
 * no `any`, no default export, and no comment that silences the type checker.
 */
import ts from 'typescript';
import { isScript, parse, type Source } from './sources.ts';

const maxLines = 299;
const maxColumns = 120;
const maxFunctionLines = 60;

/** All complaints about one file's shape. */
export function checkShape(source: Source): string[] {
  const anyLanguage = [...checkSize(source), ...checkOpening(source)];
  return isScript(source) ? [...anyLanguage, ...checkFunctions(source), ...checkTypes(source)] : anyLanguage;
}

/** Lines are counted as they lie, blank ones and comments too; columns as characters, not bytes. */
export function checkSize({ path, text }: Source): string[] {
  const lines = text.replace(/\n$/, '').split('\n');
  const long = lines.flatMap((line, i) => ([...line].length > maxColumns ? [i + 1] : []));
  const complaints = long.map((line) => `${path}:${line} is longer than ${maxColumns} columns`);
  if (lines.length > maxLines) complaints.push(`${path} has ${lines.length} lines: under ${maxLines + 1} is the rule`);
  return complaints;
}

/**
 * A file opens by saying what it does: a block comment, or in Python a docstring, after the #! line if it has one.
 * A test file says it in the names of its tests.
 */
export function checkOpening({ path, text }: Source): string[] {
  if (path.endsWith('.test.ts')) return [];
  const body = text.replace(/^#!.*\n/, '');
  const opens = path.endsWith('.py') ? /^(r?"""|''')/ : /^\/\*\*/;
  return opens.test(body) ? [] : [`${path} does not open with a comment block that says what it does`];
}

/** A function that holds tests is a group of them, as a file is, and as long as it needs to be. */
function isGroup(node: ts.Node): boolean {
  const isTest = ts.isCallExpression(node) && /^(test|it)\b/.test(node.expression.getText());
  return isTest || (ts.forEachChild(node, isGroup) ?? false);
}

/** Functions, methods and arrows with their first line (from 1) and how many lines they have. */
function functionsOf(file: ts.SourceFile): { line: number; length: number }[] {
  const found: { line: number; length: number }[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && !isGroup(node)) {
      const first = file.getLineAndCharacterOfPosition(node.getStart(file)).line;
      const last = file.getLineAndCharacterOfPosition(node.end).line;
      found.push({ line: first + 1, length: last - first + 1 });
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

/** No function is longer than fits on a screen. */
export function checkFunctions(source: Source): string[] {
  return functionsOf(parse(source))
    .filter(({ length }) => length > maxFunctionLines)
    .map(({ line, length }) => `${source.path}:${line} a function of ${length} lines: at most ${maxFunctionLines}`);
}

/** `export default ...`, of a value or of a declaration. */
const isDefaultExport = (statement: ts.Statement): boolean =>
  ts.isExportAssignment(statement) ||
  (ts.canHaveModifiers(statement) &&
    (ts.getModifiers(statement) ?? []).some(({ kind }) => kind === ts.SyntaxKind.DefaultKeyword));

/** No `any`, no way around the checker, named exports only (vitest and VitePress read default exports). */
export function checkTypes(source: Source): string[] {
  const file = parse(source);
  const complaints: string[] = [];
  const complain = (node: ts.Node, what: string): void => {
    const { line } = file.getLineAndCharacterOfPosition(node.getStart(file));
    complaints.push(`${source.path}:${line + 1} ${what}`);
  };
  const visit = (node: ts.Node): void => {
    if (node.kind === ts.SyntaxKind.AnyKeyword) complain(node, 'says any: name the type, or use unknown');
    ts.forEachChild(node, visit);
  };
  visit(file);
  if (!/\.(config|paths)\.\w+$/.test(source.path)) {
    for (const statement of file.statements.filter(isDefaultExport))
      complain(statement, 'has a default export: name it');
  }
  const silenced = /@ts-(ignore|nocheck)|biome-ignore[^\n]*noExplicitAny/.exec(commentsOf(file));
  if (silenced) complaints.push(`${source.path} silences the checker with ${silenced[0]}`);
  return complaints;
}

/** The file's comments alone, so that a string or a pattern which mentions a directive (as above) doesn't count. */
function commentsOf(file: ts.SourceFile): string {
  const scanner = ts.createScanner(ts.ScriptTarget.ES2023, false, ts.LanguageVariant.Standard, file.text);
  const comments: string[] = [];
  for (let kind = scanner.scan(); kind !== ts.SyntaxKind.EndOfFileToken; kind = scanner.scan()) {
    const isComment = kind === ts.SyntaxKind.SingleLineCommentTrivia || kind === ts.SyntaxKind.MultiLineCommentTrivia;
    if (isComment) comments.push(scanner.getTokenText());
  }
  return comments.join('\n');
}
