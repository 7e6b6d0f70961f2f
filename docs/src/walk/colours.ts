/**
 * Code as HTML, line by line, its words marked by what they are: `<span class="k">const</span>`.
 *
 * Lezer's parsers, which are those of the CodeMirror editor, read all files and fences in seconds, where the grammars
 * that VitePress has took most of a minute. Classes instead of colours let the style sheet choose light or dark. A CUDA
 * file is C++ with a few words more, which the parser passes over.
 */
import type { Parser } from '@lezer/common';
import { parser as cpp } from '@lezer/cpp';
import { highlightCode, tagHighlighter, tags } from '@lezer/highlight';
import { parser as javascript } from '@lezer/javascript';

const typescript = javascript.configure({ dialect: 'ts' });

/** TypeScript by its name's ending; all else that has a walkthrough is C++. */
const parserOf = (file: string): Parser => (file.endsWith('.ts') ? typescript : cpp);

/** Few kinds, so that the eye finds them: keywords, texts, numbers, comments, types, and what is defined or called. */
const kinds = tagHighlighter([
  { tag: [tags.keyword, tags.self, tags.processingInstruction], class: 'k' },
  { tag: [tags.string, tags.special(tags.string), tags.regexp], class: 's' },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], class: 'n' },
  { tag: tags.comment, class: 'c' },
  { tag: [tags.typeName, tags.className, tags.namespace], class: 't' },
  {
    tag: [tags.function(tags.variableName), tags.function(tags.definition(tags.variableName))],
    class: 'f',
  },
  { tag: [tags.function(tags.propertyName), tags.function(tags.definition(tags.propertyName))], class: 'f' },
]);

export const escapeHtml = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => `&${{ '&': 'amp', '<': 'lt', '>': 'gt', '"': 'quot' }[c]};`);

/** The markdown renderer's `highlight`: a fence of TypeScript or C++ in colours, of anything else as it is. */
export function colouredFence(code: string, language: string): string {
  const file = /^(ts|cpp)\b/.exec(language)?.[0];
  const text = code.replace(/\n$/, '');
  const html = file ? colouredLines(`fence.${file}`, text).join('\n') : escapeHtml(text);
  return `<pre class="coloured" tabindex="0" v-pre><code>${html}</code></pre>`;
}

/** One string for each line of the file, so that a part is cut out after the whole was parsed. */
export function colouredLines(file: string, text: string): string[] {
  const lines = [''];
  const put = (piece: string, kind: string): void => {
    lines[lines.length - 1] += kind ? `<span class="${kind}">${escapeHtml(piece)}</span>` : escapeHtml(piece);
  };
  highlightCode(text, parserOf(file).parse(text), kinds, put, () => lines.push(''));
  return lines;
}
