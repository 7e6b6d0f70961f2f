/**
 * A part of a source file, by the name that it declares: what a page quotes is what the file says.
 *
 *     quote(text, 'columnParallel')       a function, constant, class, type or interface of the file
 *     quote(text, 'Bucket.averaged')      a member of a class
 *     quoteC(text, 'rms_norm')            a function of a C++ or CUDA file
 */
import ts from 'typescript';

/** Names that a statement declares. */
function namesOf(statement: ts.Statement): string[] {
  if (ts.isVariableStatement(statement))
    return statement.declarationList.declarations.map(({ name }) => name.getText());
  const { name } = statement as { name?: ts.Node };
  return name ? [name.getText()] : [];
}

/**
 * The declaration's text without the comment above it, moved to the left margin; undefined if the file has none of that
 * name.
 */
export function quote(text: string, name: string): string | undefined {
  const file = ts.createSourceFile('quoted.ts', text, ts.ScriptTarget.ES2023, true);
  const [outer, member] = name.split('.');
  const statement = file.statements.find((one) => namesOf(one).includes(outer as string));
  const members = statement && ts.isClassDeclaration(statement) ? [...statement.members] : [];
  const node = member ? members.find((one) => one.name?.getText() === member) : statement;
  if (!node) return undefined;
  const start = node.getStart(file);
  const column = file.getLineAndCharacterOfPosition(start).character;
  const margin = new RegExp(`^ {0,${column}}`, 'gm');
  return text.slice(start, node.end).replace(margin, '');
}

/** A function of a C++ or CUDA file at the left margin, up to the first line that only closes a brace. */
export function quoteC(text: string, name: string): string | undefined {
  const lines = text.split('\n');
  const opens = new RegExp(`^[^\\s/#].*\\b${name}\\(.*`);
  const start = lines.findIndex((line) => opens.test(line));
  const end = lines.findIndex((line, i) => i > start && line === '}');
  return start < 0 || end < 0 ? undefined : lines.slice(start, end + 1).join('\n');
}
