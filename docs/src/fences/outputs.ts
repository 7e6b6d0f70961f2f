/**
 * What a page shows of the code and of its output, beside what the code and the run say now.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Block, Page } from './pages.ts';
import { isProgram } from './program.ts';
import { quote } from './quote.ts';

/** A block of a page whose text should be another. */
export interface Difference {
  readonly block: Block;
  readonly actual: string;
}

const isOutput = (block: Block | undefined): block is Block => block?.kind === 'text' && block.words[0] === 'output';

/** Digits and the blanks that line them up may differ; words, signs and how many lines there are may not. */
const withoutFigures = (text: string): string => text.replace(/\d+(\.\d+)?(e[-+]\d+)?/g, '0').replace(/[ \t]+/g, ' ');

/** Whether an output says what was printed. */
export function isSame(block: Block, actual: string): boolean {
  const [shown, printed] = [block.text.trimEnd(), actual.trimEnd()];
  return block.words.includes('figures-vary') ? withoutFigures(shown) === withoutFigures(printed) : shown === printed;
}

/** Outputs that differ from what the fences before them printed, and fences that printed what no output shows. */
export function compareOutputs(page: Page, printed: ReadonlyMap<number, string>) {
  const [differences, complaints]: [Difference[], string[]] = [[], []];
  for (const [i, block] of page.blocks.entries()) {
    if (!isProgram(block) && !isRun(block)) continue;
    const [actual = '', next] = [printed.get(block.line), page.blocks[i + 1]];
    if (isOutput(next) && !isSame(next, actual)) differences.push({ block: next, actual });
    if (!isOutput(next) && actual !== '')
      complaints.push(`${page.path}:${block.line} prints this, and no \`\`\`text output after it shows it: ${actual}`);
  }
  return { differences, complaints };
}

/** Quotations that differ from the files, and those of which there is nothing to quote. */
export function compareQuotes(page: Page, root: string) {
  const [differences, complaints]: [Difference[], string[]] = [[], []];
  for (const block of page.blocks) {
    const [mark, source = ''] = block.words;
    if (block.kind !== 'ts' || mark !== 'quote') continue;
    const [, path = '', name = ''] = /^([^#]*)#(.*)$/.exec(source) ?? [];
    const file = join(root, path);
    const actual = existsSync(file) ? quote(readFileSync(file, 'utf8'), name) : undefined;
    if (actual === undefined) complaints.push(`${page.path}:${block.line} quotes ${name} of ${path}, which has none`);
    else if (actual.trimEnd() !== block.text.trimEnd()) differences.push({ block, actual });
  }
  return { differences, complaints };
}

const isRun = ({ kind, words }: Block): boolean => kind === 'sh' && words[0] === 'run';

/** Runs the page's commands that are marked so, in the repository's root; what each block printed, by its line. */
export async function runCommands(page: Page, root: string): Promise<Map<number, string>> {
  const printed = new Map<number, string>();
  for (const block of page.blocks.filter(isRun)) {
    const options = { cwd: root, timeout: 120_000 };
    const { stdout } = await promisify(execFile)('bash', ['-euc', block.text], options);
    printed.set(block.line, stdout.trimEnd());
  }
  return printed;
}
