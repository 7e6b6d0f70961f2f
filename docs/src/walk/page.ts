/**
 * A walkthrough page: a source file as Markdown, prose beside code.
 *
 *     prose of lines 27-31  |  27  code with the file's own line numbers
 *                           |  28
 *
 * Each line of the file has its anchor, #L27, once: a line of code at its number, a line of a comment or a blank one
 * at an empty span. So a link to a line works as it does on the repository's page.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { addressOf, root } from '../site.ts';
import { type Group, groups, linkOf, shortOf } from './files.ts';
import { type Lines, type Part, partsOf, proseOf } from './parts.ts';
import { escaped, firstSentence, markdownOf, pictureWidth } from './prose.ts';

/** A file with its parts. */
export interface Page {
  /** From the repository's root. */
  readonly file: string;
  readonly parts: readonly Part[];
}

export const readPage = (file: string): Page => ({ file, parts: partsOf(readFileSync(join(root, file), 'utf8')) });

/** What the file's opening comment says first. */
export const aboutOf = ({ parts }: Page): string => (parts[0] ? firstSentence(proseOf(parts[0].prose)) : '');

/** Characters of a picture that fit into the prose's column; a wider one has its part one below the other. */
const columnWidth = 52;

const anchors = ({ from, to }: Lines): string =>
  Array.from({ length: to - from + 1 }, (_, i) => `<span class="walk-line" id="L${from + i}"></span>`).join('');

const languages: Readonly<Record<string, string>> = { ts: 'ts', cc: 'cpp', h: 'cpp', cu: 'cpp', cuh: 'cpp' };

/** One part; `walk=27` tells `numbered` in lines.ts where to count from. */
function markdownOfPart({ prose, code, blank }: Part, first: boolean, language: string): string {
  const words = proseOf(prose);
  const wide = first || pictureWidth(words) > columnWidth;
  const shown = `<div class="walk-prose" v-pre>\n\n${anchors(prose)}\n\n${markdownOf(words)}\n\n</div>`;
  const fence = code.text.length ? `~~~~~~${language} walk=${code.from}\n${code.text.join('\n')}\n~~~~~~` : '';
  return `<div class="walk-part${wide ? ' wide' : ''}">\n${shown}\n\n${fence}\n\n${anchors(blank)}\n</div>\n`;
}

/** The page below its title: where the file is, then its parts. */
export function markdownOfPage({ file, parts }: Page): string {
  const language = languages[file.split('.').at(-1) as string] as string;
  const lines = parts.at(-1)?.blank.to;
  const head = `# ${shortOf(file).split('/').at(-1)}\n\n[${file}](${addressOf(file)}), ${lines} lines\n`;
  return [head, ...parts.map((part, at) => markdownOfPart(part, at === 0, language))].join('\n');
}

const introduction = `# The code, walked through

Each source file has a page: on the left what its comments say, on the right the code below them, with the file's own
line numbers. The pages are made from the files, and every line of a file is there.
`;

const row = (file: string): string =>
  `| [${shortOf(file)}](${linkOf(file)}) | ${escaped(aboutOf(readPage(file)))} |`;

const tableOf = ({ title, about, files }: Group): string =>
  [`## ${title}`, '', about, '', '| file | |', '| --- | --- |', ...files.map(row), ''].join('\n');

/** The page that lists all others: a group with its sentence, a file with its first one. */
export const markdownOfIndex = (): string => [introduction, ...groups().map(tableOf)].join('\n');
