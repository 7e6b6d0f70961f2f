/**
 * A walkthrough page: a source file as HTML, prose beside code.
 *
 *     prose of lines 27-31  |  27  code with the file's own line numbers
 *                           |  28
 *
 * Each line of the file has its anchor, #L27, once: a line of code at its number, a line of a comment or a blank one
 * at an empty span. So a link to a line works as it does on the repository's page. A line's number is an attribute that
 * the style sheet prints, so copied code has no numbers in it; and the numbers' links are left out of the Tab order,
 * which would stop three hundred times on a page. Links are relative, so that they hold under any base path.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { relative } from 'node:path/posix';
import { addressOf, root } from '../site.ts';
import { colouredLines } from './colours.ts';
import { type Group, groups, shortOf } from './files.ts';
import { type Lines, type Part, partsOf, proseOf } from './parts.ts';
import { firstSentence, htmlOf, inlineHtmlOf, pictureWidth } from './prose.ts';

/** A file with its parts. */
export interface Page {
  /** From the repository's root. */
  readonly file: string;
  readonly text: string;
  readonly parts: readonly Part[];
}

export function readPage(file: string): Page {
  const text = readFileSync(join(root, file), 'utf8');
  return { file, text, parts: partsOf(text) };
}

/** What the file's opening comment says first, as HTML. */
export const aboutOf = ({ parts }: Page): string =>
  inlineHtmlOf(parts[0] ? firstSentence(proseOf(parts[0].prose)) : '');

/** Characters of a picture that fit into the prose's column; a wider one has its part one below the other. */
const columnWidth = 52;

const anchors = ({ from, to }: Lines): string =>
  Array.from({ length: to - from + 1 }, (_, i) => `<i id="L${from + i}"></i>`).join('');

const codeLine = (html: string, line: number): string => {
  const number = `<a href="#L${line}" data-line="${line}" tabindex="-1" aria-hidden="true"></a>`;
  return `<span id="L${line}">${number}${html}</span>`;
};

function codeOf({ from, to }: Lines, coloured: readonly string[]): string {
  if (to < from) return '';
  const lines = coloured.slice(from - 1, to).map((html, at) => codeLine(html, from + at));
  const label = `tabindex="0" role="group" aria-label="Lines ${from} to ${to}"`;
  return `<pre class="walk-code" ${label}><code>${lines.join('\n')}</code></pre>`;
}

/** From a file's page to another file's: to its walkthrough, else to the repository; undefined where there is none. */
const linkFrom =
  (file: string, walked: ReadonlySet<string>) =>
  (path: string): string | undefined =>
    walked.has(path) ? `${relative(`${shortOf(file)}/..`, shortOf(path))}.html` : addressOf(path);

/** The page below its title. */
export function htmlOfPage({ file, text, parts }: Page, walked: ReadonlySet<string>): string {
  const coloured = colouredLines(file, text);
  const resolve = linkFrom(file, walked);
  const shown = parts.map(({ prose, code, blank }, at) => {
    const words = proseOf(prose);
    const wide = at === 0 || pictureWidth(words) > columnWidth;
    return [
      `<section class="walk-part${wide ? ' wide' : ''}">`,
      `<div class="walk-prose">${anchors(prose)}${htmlOf(words, resolve)}</div>`,
      `<div>${codeOf(code, coloured)}${anchors(blank)}</div></section>`,
    ].join('');
  });
  return shown.join('\n');
}

const row = (file: string): string =>
  `<tr><td><a href="${shortOf(file)}.html">${shortOf(file)}</a></td><td>${aboutOf(readPage(file))}</td></tr>`;

const tableOf = ({ title, about, files }: Group): string =>
  `<h2 id="${title}">${title}</h2><p>${about}</p><table><tbody>${files.map(row).join('')}</tbody></table>`;

/** The list of all pages: a group with its sentence, a file with its first one. */
export const htmlOfIndex = (): string => groups().map(tableOf).join('');
