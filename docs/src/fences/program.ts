/**
 * A page's TypeScript as one program, whose lines have the numbers that they have in the page.
 *
 *     page                          program
 *     Four ranks add up:
 *     ```ts                         console.log("\0fence 2");
 *     console.log(1 + 1);           console.log(1 + 1);
 *     ```
 *
 * So an error of the compiler, or a stack, names the page's own line; and what stands between two marks in the output
 * is what one fence printed.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import ts from 'typescript';
import type { Block, Page } from './pages.ts';

const MARK = '\0fence ';

/** Runs what a page runs. What pages show has no colours, which nx asks for where there is a terminal. */
export const runFor = (program: string, args: readonly string[], cwd: string, timeout = 120_000) =>
  promisify(execFile)(program, [...args], { cwd, env: { ...process.env, FORCE_COLOR: '0' }, timeout });

/** Whether a block is part of the page's program. */
export const isProgram = ({ kind, words }: Block): boolean =>
  kind === 'hidden' || (kind === 'ts' && words[0] !== 'quote');

/** The program, or undefined where the page has none. */
export function programOf({ text, blocks }: Page): string | undefined {
  if (!blocks.some(isProgram)) return undefined;
  const lines: string[] = Array(text.split('\n').length).fill('');
  for (const block of blocks.filter(isProgram)) {
    lines[block.line - 1] = `console.log(${JSON.stringify(MARK + block.line)});`;
    for (const [i, line] of block.text.replace(/\n$/, '').split('\n').entries()) lines[block.line + i] = line;
  }
  return `${lines.join('\n')}\nexport {};\n`;
}

/** Where a page's program is put: inside docs, so that it finds the packages. */
export const programFile = (root: string, { path }: Page): string =>
  join(
    root,
    'docs/.fences',
    path
      .replace(/^docs\//, '')
      .replaceAll('/', '-')
      .replace(/\.md$/, '.ts'),
  );

/** Writes the programs of all pages that have one; returns their files by page. */
export function writePrograms(root: string, pages: readonly Page[]): Map<Page, string> {
  const files = new Map<Page, string>();
  for (const page of pages) {
    const program = programOf(page);
    if (program === undefined) continue;
    const file = programFile(root, page);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, program);
    files.set(page, file);
  }
  return files;
}

/** As strict as the packages' own code, but that a lesson may leave a name unused and index without a guard. */
const LESSON: ts.CompilerOptions = {
  noUnusedLocals: false,
  noUncheckedIndexedAccess: false,
  noPropertyAccessFromIndexSignature: false,
};

/** What the compiler finds wrong in the programs: 'docs/chapters/tensor.md:31: ...'. */
export function checkTypes(root: string, files: ReadonlyMap<Page, string>): string[] {
  const base = ts.readConfigFile(join(root, 'tsconfig.base.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(base.config, ts.sys, root, LESSON);
  const program = ts.createProgram([...files.values()], { ...options, ...LESSON });
  const paths = new Map([...files].map(([page, file]) => [file, page.path]));
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const line = file ? file.getLineAndCharacterOfPosition(start ?? 0).line + 1 : 0;
    const where = file ? (paths.get(file.fileName) ?? file.fileName) : 'the program';
    return `${where}:${line}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
  });
}

/** What each fence printed, by the line at which its text begins. Throws where the program fails. */
export function printedBy(stdout: string): Map<number, string> {
  const parts = stdout.split(MARK).slice(1);
  return new Map(
    parts.map((part) => {
      const end = part.indexOf('\n');
      return [Number(part.slice(0, end)), part.slice(end + 1).trimEnd()];
    }),
  );
}

/** Runs a program in a process of its own. */
export async function runProgram(file: string, root: string): Promise<Map<number, string>> {
  const args = ['--import', 'tsx', file];
  const { stdout } = await runFor(process.execPath, args, root);
  return printedBy(stdout);
}
