/**
 * Indented text in the pages, which is commands and pictures: shown as a fence of plain text is, so that it scrolls
 * within itself on a phone, by keyboard too, and can be copied.
 */
import type { MarkdownOptions } from 'vitepress';

type MarkdownIt = Parameters<NonNullable<MarkdownOptions['config']>>[0];

/** Has markdown-it draw an indented block as it draws a fence. */
export function picturesAsFences(markdown: MarkdownIt): void {
  markdown.core.ruler.push('pictures', ({ tokens }) => {
    for (const token of tokens.filter(({ type }) => type === 'code_block'))
      Object.assign(token, { type: 'fence', info: 'txt', tag: 'code' });
  });
}
