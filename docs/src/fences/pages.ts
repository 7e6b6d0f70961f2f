/**
 * The site's written pages, and the blocks of code in them.
 *
 *     ```ts                    is type-checked and run; the fences of a page are one program, from top to bottom
 *     ```text output           what the fence before it printed
 *     ```ts quote FILE#name    a part of a source file, as it stands there; ```cpp quote for C++ and CUDA
 *     ```sh                    commands: their flags must exist
 *     ```sh run                the same, and they are run
 *     <!--ts ... -->           part of the program, but shown nowhere: what a lesson need not say
 *
 * An output that holds times, rates or anything else that differs from machine to machine is marked `figures-vary`:
 * then its digits may be others.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import markdownIt from 'markdown-it';

/** A block of code in a page. */
export interface Block {
  /** 'ts', 'text', 'sh'; 'hidden' in a comment, 'indented' where four spaces make it one. */
  readonly kind: string;
  /** What follows the language, word by word. */
  readonly words: readonly string[];
  readonly text: string;
  /** The line of the page, from 0, at which the block's text begins. */
  readonly line: number;
}

export interface Page {
  /** From the repository's root, with forward slashes. */
  readonly path: string;
  readonly text: string;
  readonly blocks: readonly Block[];
}

const parser = markdownIt({ html: true });

/** All blocks of code of a page, in their order. */
export function blocksOf(text: string): Block[] {
  return parser.parse(text, {}).flatMap(({ type, info, content, map }): Block[] => {
    const start = map?.[0] ?? 0;
    const [language = '', ...words] = info.trim().split(/\s+/);
    if (type === 'fence') return [{ kind: language, words, text: content, line: start + 1 }];
    if (type === 'code_block') return [{ kind: 'indented', words: [], text: content, line: start }];
    const hidden = type === 'html_block' ? /^<!--ts\n([\s\S]*?)-->/.exec(content) : null;
    return hidden ? [{ kind: 'hidden', words: [], text: hidden[1] as string, line: start + 1 }] : [];
  });
}

export const pageOf = (path: string, text: string): Page => ({ path, text, blocks: blocksOf(text) });

/** README.md, CONTRIBUTING.md and what lies in docs, but for pages that a program writes. */
export function readPages(root: string): Page[] {
  const generated = new Set(['node_modules', 'api', 'walk', 'results', 'src', 'test']);
  const below = (folder: string): string[] =>
    readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      if (entry.isDirectory())
        return entry.name.startsWith('.') || generated.has(entry.name) ? [] : below(join(folder, entry.name));
      return entry.name.endsWith('.md') ? [join(folder, entry.name)] : [];
    });
  const files = ['README.md', 'CONTRIBUTING.md'].map((name) => join(root, name));
  return [...files, ...below(join(root, 'docs')).sort()].map((file) =>
    pageOf(relative(root, file).split(sep).join('/'), readFileSync(file, 'utf8')),
  );
}

/** The page with the text of some blocks replaced. */
export function withBlocks(page: Page, texts: ReadonlyMap<Block, string>): string {
  const lines = page.text.split('\n');
  for (const block of page.blocks.toReversed()) {
    const text = texts.get(block);
    const count = block.text === '' ? 0 : block.text.replace(/\n$/, '').split('\n').length;
    if (text !== undefined) lines.splice(block.line, count, ...text.replace(/\n$/, '').split('\n'));
  }
  return lines.join('\n');
}
