/**
 * Line numbers for the code of walkthrough pages: shiki calls this for each block that it has coloured.
 *
 * A line gets the id that #L27 leads to, and a link to itself which shows its number. The number is an attribute that
 * the style sheet prints, so copied code has no numbers in it; and the links are left out of the Tab order, which would
 * stop three hundred times on a page.
 */
import type { MarkdownOptions } from 'vitepress';

type Transformer = NonNullable<MarkdownOptions['codeTransformers']>[number];

/** The first line's number in a fence's words, if they have one: `walk=27`. */
export function firstLine(words: string | undefined): number | undefined {
  const found = /\bwalk=(\d+)/.exec(words ?? '')?.[1];
  return found === undefined ? undefined : Number(found);
}

const linkTo = (line: number) => ({
  type: 'element' as const,
  tagName: 'a',
  properties: { class: 'walk-number', href: `#L${line}`, 'data-line': line, tabindex: -1, 'aria-hidden': 'true' },
  children: [],
});

/** Blocks without `walk=` stay as they are. */
export const numbered: Transformer = {
  name: 'walk-lines',
  code(block) {
    const first = firstLine(this.options.meta?.__raw);
    if (first === undefined) return;
    const lines = block.children.filter((node) => node.type === 'element');
    for (const [at, line] of lines.entries()) {
      line.properties['id'] = `L${first + at}`;
      line.children.unshift(linkTo(first + at));
    }
  },
};
