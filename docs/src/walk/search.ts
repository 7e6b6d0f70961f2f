/**
 * What the site's search finds in the walkthroughs: each part under the name of what it defines, with its comment.
 *
 * VitePress's search reads Markdown files, and a walkthrough is none; it asks this for the sections of such a page.
 */
import { groups, shortOf } from './files.ts';
import { readPage } from './page.ts';
import { type Part, proseOf } from './parts.ts';

/** A piece of a page that can be found: its anchor, its title below those of its page, its words. */
export interface Section {
  readonly anchor: string;
  readonly titles: string[];
  readonly text: string;
}

const named = /^(?:export |async |abstract |static |inline )*(?:function|class|interface|type|const|struct) (\w+)/;
const nativeFunction = /^(?:[\w:<>*&]+ )+[*&]?(\w+)\(/;

/** The part's heading, or the first thing that it defines. */
export function titleOf({ prose, code }: Part): string | undefined {
  const heading = proseOf(prose).find((line) => line.startsWith('## '));
  const [first = ''] = code.text.filter((line) => /^\w/.test(line) && !/^(import|#|using|namespace)\b/.test(line));
  return heading?.slice(3) ?? named.exec(first)?.[1] ?? nativeFunction.exec(first)?.[1];
}

/** A page's sections; undefined for a file of docs that is no walkthrough. */
export function sectionsOf(page: string): Section[] | undefined {
  const file = files().get(page);
  if (!file) return undefined;
  const name = shortOf(file);
  return readPage(file).parts.map((part, at) => ({
    anchor: at === 0 ? '' : `L${part.prose.from}`,
    titles: [name, ...(at === 0 ? [] : [titleOf(part) ?? `line ${part.prose.from}`])],
    text: proseOf(part.prose).join('\n'),
  }));
}

/** `walk/ops/rope.ts.md` to packages/ops/src/rope.ts. */
const files = (): Map<string, string> =>
  new Map(groups().flatMap((group) => group.files.map((file) => [`walk/${shortOf(file)}.md`, file])));
