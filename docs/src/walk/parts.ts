/**
 * A source file, cut into what a reader sees side by side: the comment above a block, and the block.
 *
 *     1  / **                        ┐ prose 1-3
 *     2   * A layer is a function.    │
 *     3   * /                        ┘
 *     4  export type Layer = ...     ┐ code 4-5
 *     5    ...                       ┘
 *     6                                blank 6
 *     7  // The next one            prose 7
 *
 * A comment counts where it fills its line from column 0 on, in TypeScript and in C++ alike; what stands indented
 * (inside a class, a function), or is said to a tool (biome-ignore), stays in the code. Comments with blank lines alone
 * between them are one prose. Every line belongs to one part, and there to its prose, its code or the blank lines under
 * it: nothing is left out.
 */

/** Lines of a file, counted from 1; `to` is the last one. */
export interface Lines {
  readonly from: number;
  readonly to: number;
  readonly text: readonly string[];
}

/** A block with the comment above it. A file may open with code, or end with a comment. */
export interface Part {
  readonly prose: Lines;
  readonly code: Lines;
  readonly blank: Lines;
}

type Kind = 'comment' | 'code' | 'blank';

/** What each line is: the state is whether a block comment is open. What is said to a tool is no prose. */
function kindsOf(lines: readonly string[]): Kind[] {
  let open = false;
  return lines.map((line) => {
    const begins = line.startsWith('/**');
    const comment = open || begins || (line.startsWith('//') && !line.startsWith('// biome-ignore'));
    if (open || begins) open = !line.includes('*/');
    if (comment) return 'comment';
    return line.trim() === '' ? 'blank' : 'code';
  });
}

/** The file's parts, in order. */
export function partsOf(text: string): Part[] {
  const lines = text.replace(/\n$/, '').split('\n');
  const kinds = kindsOf(lines);
  const cut = (from: number, to: number): Lines => ({ from: from + 1, to, text: lines.slice(from, to) });
  const parts: Part[] = [];
  for (let at = 0; at < lines.length; ) {
    const code = skip(kinds, at, ['comment', 'blank']);
    const next = skip(kinds, code, ['code', 'blank']);
    const bare = next - countFromEnd(kinds.slice(at, next), 'blank');
    const proseEnd = Math.min(code, bare);
    parts.push({ prose: cut(at, proseEnd), code: cut(proseEnd, bare), blank: cut(bare, next) });
    at = next;
  }
  return parts;
}

/** The first line from `at` on that is none of `kinds`. */
function skip(all: readonly Kind[], at: number, kinds: readonly Kind[]): number {
  const found = all.findIndex((kind, line) => line >= at && !kinds.includes(kind));
  return found < 0 ? all.length : found;
}

const countFromEnd = (kinds: readonly Kind[], kind: Kind): number =>
  kinds.length - 1 - kinds.findLastIndex((one) => one !== kind);

/** What a comment says, without the marks that make it one. */
export const proseOf = ({ text }: Lines): string[] =>
  text.map((line) =>
    line
      .replace(/^\/\/ ?/, '')
      .replace(/^\/\*\* ?/, '')
      .replace(/^ \*(?!\/) ?/, '')
      .replace(/ ?\*\/\s*$/, ''),
  );
