/**
 * A comment's text as Markdown.
 *
 * Comments are written for an editor, so little in them is markup: a heading (`## Buckets`), a list, `code`, $x^2$ and
 * lines that are indented, which are pictures and equations. Everything else must come out as it stands: `T<D>`, q_BTHK
 * and a * b have meaning here that Markdown would take away.
 */
const isList = /^ ?([-*]|\d+\.) /;
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

/** Characters that Markdown, Vue or VitePress would take for themselves, outside `code` and $formulas$. */
export const escaped = (text: string): string =>
  text.replace(/(`+)[^`][\s\S]*?\1(?!`)|\$[^\s$][^$\n]*\$|[<*_{[\]|~\\]/g, (found) =>
    /^[`$]./.test(found) ? found : `\\${found}`,
  );

/** `@throws UserError where ...` and its kind, which editors know, as sentences. */
const withTags = (text: string): string =>
  text.replace(/^@(throws|returns)\b ?/gm, (_, tag: string) => `${tag === 'throws' ? 'Throws' : 'Returns'} `);

/** A picture loses the indentation that all of its lines share. */
function pictureOf(lines: readonly string[]): string {
  const depth = Math.min(...lines.filter((line) => line.trim()).map((line) => line.search(/\S/)));
  return ['', '~~~~~~txt', ...lines.map((line) => line.slice(depth)), '~~~~~~', ''].join('\n');
}

/** Markdown that shows the comment as it was meant. */
export const markdownOf = (lines: readonly string[]): string =>
  runsOf(lines)
    .map(({ picture, lines: some }) => (picture ? pictureOf(some) : escaped(withTags(some.join('\n')))))
    .join('\n');

/** The longest line of its pictures. */
export const pictureWidth = (lines: readonly string[]): number =>
  Math.max(0, ...runsOf(lines).flatMap((run) => (run.picture ? run.lines.map(({ length }) => length) : [])));

/** The comment's first sentence, for lists of files. */
export function firstSentence(lines: readonly string[]): string {
  const words = lines.slice(0, Math.max(1, lines.findIndex((line, at) => at > 0 && line.trim() === '')));
  const text = words.join(' ').replace(/\s+/g, ' ').trim();
  return /^.*?[.:?](?= |$)/.exec(text)?.[0] ?? text;
}
