/**
 * A comment's text as HTML.
 *
 * Comments are written for an editor, so little in them is markup: a heading (`## Buckets`), a list, `code`, $x^2$,
 * and lines that are indented, which are pictures and equations. Everything else is shown as it stands: `T<D>`, q_BTHK
 * and a * b have meanings that all of Markdown would take away, so the renderer starts from nothing and gets these few.
 * A path of the repository, as packages/ops/src/rope.ts, becomes a link.
 */
import { katex } from '@mdit/plugin-katex';
import MarkdownIt from 'markdown-it';
import { escapeHtml } from './colours.ts';

/** Where a path leads; undefined where it is not a path of the repository. */
export type Resolve = (path: string) => string | undefined;

const isList = /^ ?(-|\d+\.) /;
const isIndented = /^ {2,}\S/;

/** Runs of lines of one kind; a blank line belongs to a picture if the picture goes on under it. */
interface Run {
  readonly picture: boolean;
  readonly lines: string[];
}

function runsOf(lines: readonly string[]): Run[] {
  const runs: Run[] = [];
  let list = false;
  lines.forEach((line, at) => {
    const last = runs.at(-1);
    const blank = line.trim() === '';
    if (!isIndented.test(line)) list = (list && !blank) || isList.test(line);
    const goesOn = blank && last?.picture === true && isIndented.test(lines[at + 1] ?? '');
    const picture = goesOn || (!list && isIndented.test(line));
    if (last?.picture === picture) last.lines.push(line);
    else runs.push({ picture, lines: [line] });
  });
  return runs;
}

/** Markdown: a picture as a fence, without the indentation that its lines share. */
function fenced({ picture, lines }: Run): string {
  if (!picture) return lines.join('\n');
  const depth = Math.min(...lines.filter((line) => line.trim()).map((line) => line.search(/\S/)));
  return ['', '~~~~~~', ...lines.map((line) => line.slice(depth)), '~~~~~~', ''].join('\n');
}

/** `@throws UserError where ...`, as editors know it, as a sentence. */
const withTags = (text: string): string =>
  text.replace(/^@(throws|returns)\b/gm, (_, tag: string) => (tag === 'throws' ? 'Throws' : 'Returns'));

const paths = /\b(?:packages|docs|bench|tools|configs|dev)\/[\w./-]*\w/g;

const markdown = new MarkdownIt('zero').enable(['heading', 'list', 'backticks', 'fence']).use(katex as never);

markdown.renderer.rules.text = (tokens, at, _options, { resolve }: { resolve: Resolve }) => {
  const linked = (path: string): string => {
    const href = resolve(path);
    return href ? `<a href="${href}">${path}</a>` : path;
  };
  return escapeHtml(tokens[at]?.content ?? '').replace(paths, linked);
};

/** A picture that is wider than its column is scrolled, by keyboard too. */
markdown.renderer.rules.fence = (tokens, at) =>
  `<pre tabindex="0"><code>${escapeHtml(tokens[at]?.content ?? '')}</code></pre>\n`;

/** The HTML of a comment's lines. */
export const htmlOf = (lines: readonly string[], resolve: Resolve): string =>
  markdown.render(withTags(runsOf(lines).map(fenced).join('\n')), { resolve });

/** The HTML of one sentence, without a paragraph around it. */
export const inlineHtmlOf = (text: string): string => markdown.renderInline(text, { resolve: () => undefined });

/** The longest line of its pictures. */
export const pictureWidth = (lines: readonly string[]): number =>
  Math.max(0, ...runsOf(lines).flatMap((run) => (run.picture ? run.lines.map(({ length }) => length) : [])));

/** The comment's first sentence, for lists of files. */
export function firstSentence(lines: readonly string[]): string {
  const end = lines.findIndex((line, at) => at > 0 && (line.trim() === '' || isIndented.test(line)));
  const text = lines
    .slice(0, end < 0 ? lines.length : end)
    .join(' ')
    .replace(/\s+/g, ' ')
    .trim();
  return /^.*?[.?](?= |$)/.exec(text)?.[0] ?? text.replace(/:$/, '.');
}
