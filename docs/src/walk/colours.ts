/**
 * Code as HTML, line by line, its words marked by what they are: `<span class="tok-keyword">const</span>`.
 *
 * Lezer's parsers, which are those of the CodeMirror editor, read all of the repository's C++ in half a second, where
 * the grammars that VitePress has took half a minute. Classes instead of colours let the style sheet choose light or
 * dark. A CUDA file is C++ with a few words more, which the parser passes over.
 */
import type { Parser } from '@lezer/common';
import { parser as cpp } from '@lezer/cpp';
import { classHighlighter, highlightCode } from '@lezer/highlight';
import { parser as javascript } from '@lezer/javascript';

const typescript = javascript.configure({ dialect: 'ts' });

/** TypeScript by its name's ending; all else that has a walkthrough is C++. */
const parserOf = (file: string): Parser => (file.endsWith('.ts') ? typescript : cpp);

export const escapeHtml = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => `&${{ '&': 'amp', '<': 'lt', '>': 'gt', '"': 'quot' }[c]};`);

/** One string for each line of the file, so that a part is cut out after the whole was parsed. */
export function colouredLines(file: string, text: string): string[] {
  const lines = [''];
  const put = (piece: string, classes: string): void => {
    const shown = classes ? `<span class="${classes}">${escapeHtml(piece)}</span>` : escapeHtml(piece);
    lines[lines.length - 1] += shown;
  };
  highlightCode(text, parserOf(file).parse(text), classHighlighter, put, () => lines.push(''));
  return lines;
}
