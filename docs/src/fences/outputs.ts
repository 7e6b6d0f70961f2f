/**
 * What a page shows of the code and of its output, beside what the code and the run say now.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Block, Page } from './pages.ts';
import { isProgram, runFor } from './program.ts';
import { quote, quoteC } from './quote.ts';

/** A block of a page whose text should be another. */
export interface Difference {
  readonly block: Block;
  readonly actual: string;
}

const isOutput = (block: Block | undefined): block is Block => block?.kind === 'text' && block.words[0] === 'output';

/** A number, or two as a range, with the K or the unit of time that goes with its size: 3.57K, 1.0e-04, 0.7-1.3 s. */
const FIGURE = /\d+(\.\d+)?(e[-+]\d+)?(-\d+(\.\d+)?)?K?( (ms|s)\b)?/g;

/** Figures and the blanks that line them up may differ; words, signs and how many lines there are may not. */
const withoutFigures = (text: string): string => text.replace(FIGURE, '0').replace(/[ \t]+/g, ' ');

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
    if (mark !== 'quote') continue;
    const [, path = '', name = ''] = /^([^#]*)#(.*)$/.exec(source) ?? [];
    const file = join(root, path);
    const read = block.kind === 'ts' ? quote : quoteC;
    const actual = existsSync(file) ? read(readFileSync(file, 'utf8'), name) : undefined;
    if (actual === undefined) complaints.push(`${page.path}:${block.line} quotes ${name} of ${path}, which has none`);
    else if (actual.trimEnd() !== block.text.trimEnd()) differences.push({ block, actual });
  }
  return { differences, complaints };
}

const isRun = ({ kind, words }: Block): boolean => kind === 'sh' && words[0] === 'run';

/**
 * What a reader's command does here: `npm start` without the set-up before it, `npx fourfold` without npx, both by
 * their full names, since they are run in a folder of their own.
 */
export function asRun(commands: string, root: string): string {
  const node = `${process.execPath} --import ${import.meta.resolve('tsx')}`;
  return commands
    .replace(/^npm start --/gm, `${node} ${join(root, 'packages/train/src/train.ts')}`)
    .replace(/^npx fourfold/gm, `${process.execPath} ${join(root, 'packages/fourfold/bin/fourfold.mjs')}`);
}

/** Runs the page's commands that are marked so, in one empty folder; what each block printed, by its line. */
export async function runCommands(page: Page, root: string): Promise<Map<number, string>> {
  const printed = new Map<number, string>();
  const blocks = page.blocks.filter(isRun);
  if (blocks.length === 0) return printed;
  const cwd = await mkdtemp(join(tmpdir(), 'fences-'));
  try {
    for (const block of blocks) {
      const run = runFor('bash', ['-euc', asRun(block.text, root)], cwd);
      printed.set(block.line, (await run).stdout.trimEnd());
    }
  } finally {
    await rm(cwd, { recursive: true });
  }
  return printed;
}
