/**
 * Checks what pages show against the code and against runs of it, or writes it anew.
 *
 *     npx nx run docs:fences                                  all pages
 *     npx nx run docs:fences -- --pages tensor,pipeline       some, by a part of their path
 *     npx nx run docs:fences -- --write                       outputs and quotations become what they should be
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { readConfig, runMain } from '@fourfold/cli';
import { UserError } from '@fourfold/runtime/errors';
import { z } from 'zod';
import { checkCommands } from './commands.ts';
import { compareOutputs, compareQuotes, type Difference, runCommands } from './outputs.ts';
import { type Page, readPages, withBlocks } from './pages.ts';
import { checkTypes, runProgram, writePrograms } from './program.ts';

const schema = z.object({
  write: z.boolean().default(false).describe('write outputs and quotations anew'),
  pages: z.string().default('').describe('parts of the paths of pages, with commas between; default: all'),
});

/** What is wrong with a page, and what its blocks should say. */
export interface Checked {
  readonly page: Page;
  readonly differences: readonly Difference[];
  readonly complaints: readonly string[];
}

/** Runs one page's program and commands, and compares. */
export async function checkPage(page: Page, file: string | undefined, root: string): Promise<Checked> {
  const quotes = compareQuotes(page, root);
  try {
    const printed = [...(file ? await runProgram(file, root) : []), ...(await runCommands(page, root))];
    const outputs = compareOutputs(page, new Map(printed));
    return {
      page,
      differences: [...quotes.differences, ...outputs.differences],
      complaints: [...quotes.complaints, ...outputs.complaints],
    };
  } catch (error) {
    const { message, stderr = '' } = error as Error & { stderr?: string };
    const failed = `${page.path} can't be run: ${message}\n${stderr}`;
    return { page, differences: quotes.differences, complaints: [...quotes.complaints, failed] };
  }
}

/** Sentences about everything that differs. */
export const sentencesOf = ({ page, differences, complaints }: Checked): string[] => [
  ...complaints,
  ...differences.map(({ block, actual }) => `${page.path}:${block.line} shows\n${block.text}\nand it is\n${actual}`),
];

async function main(): Promise<void> {
  const usage = 'Checks the code and the output that pages show.';
  const { write, pages: wanted } = readConfig({
    schema,
    argv: process.argv.slice(2),
    name: 'npx nx run docs:fences --',
    usage,
  });
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  const pages = readPages(root).filter(({ path }) => wanted.split(',').some((part) => path.includes(part)));
  if (pages.length === 0) throw new UserError(`pages=${wanted}: no page has that in its path`);
  const files = writePrograms(root, pages);
  const problems = checkTypes(root, files);
  problems.push(...(await checkCommands(pages, root)));
  for (const page of pages) {
    const checked = await checkPage(page, files.get(page), root);
    const texts = new Map(checked.differences.map(({ block, actual }) => [block, actual]));
    if (write && texts.size > 0) writeFileSync(join(root, page.path), withBlocks(page, texts));
    problems.push(...sentencesOf(write ? { ...checked, differences: [] } : checked));
    if (write && texts.size > 0) console.log(`${page.path}: ${texts.size} blocks are written anew`);
  }
  if (problems.length > 0) throw new UserError(problems.join('\n\n'));
  console.log(`${pages.length} pages show what is so`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await runMain(main);
