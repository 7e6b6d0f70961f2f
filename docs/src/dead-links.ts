/**
 * Checks the built site's links: each leads to a page that is there and, behind a #, to an anchor that is on it.
 *
 * It reads the HTML as it was built, so links of the navigation, of sidebars and of walkthroughs count too. What leads
 * to other sites is not followed.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

/** Pages by their path in the site, `walk/index.html`. */
export type Pages = ReadonlyMap<string, string>;

/** Every HTML file below a folder. */
export function readPages(folder: string): Pages {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.html'));
  return new Map(names.map((name) => [name.replaceAll('\\', '/'), readFileSync(join(folder, name), 'utf8')]));
}

const decoded = (text: string): string => decodeURIComponent(text.replaceAll('&amp;', '&'));

function idsOf(html: string): Set<string> {
  return new Set([...html.matchAll(/\sid="([^"]*)"/g)].map(([, id]) => decoded(id as string)));
}

/** Addresses within the site that a page names, as `href` of a link or `src` of an image or script, each once. */
const addressesOf = (html: string): string[] => [
  ...new Set(
    [...html.matchAll(/<(?:a|link|img|script)\b[^>]*?\s(?:href|src)="([^"]*)"/g)].map(([, url]) =>
      decoded(url as string),
    ),
  ),
];

const isElsewhere = (url: string): boolean => /^([a-z]+:|\/\/)/i.test(url);

/** A sentence for each dead link. `isFile` tells whether the site has a file that is no page. */
export function deadLinks(pages: Pages, base: string, isFile: (path: string) => boolean): string[] {
  const ids = new Map([...pages].map(([path, html]) => [path, idsOf(html)]));
  const problemOf = (url: string, page: string): string | undefined => {
    const [address = '', anchor = ''] = url.split('#');
    const full =
      address === ''
        ? `${base}${page}`
        : posix.resolve(`${base}${page}/..`, address) + (address.endsWith('/') ? '/' : '');
    if (!`${full}/`.startsWith(base)) return `is outside of ${base}`;
    const path = full.slice(base.length).replace(/(^|\/)$/, '$1index.html');
    if (!pages.has(path) && !isFile(path)) return 'leads nowhere';
    return anchor && pages.has(path) && !ids.get(path)?.has(anchor) ? 'names an anchor that is not there' : undefined;
  };
  return [...pages].flatMap(([page, html]) =>
    addressesOf(html).flatMap((url) => {
      const problem = isElsewhere(url) ? undefined : problemOf(url, page);
      return problem ? [`${page}: ${url} ${problem}`] : [];
    }),
  );
}

/** Throws if a site in `folder` has dead links, and names them all. */
export function checkLinks(folder: string, base: string): void {
  const found = deadLinks(readPages(folder), base, (path) => existsSync(join(folder, path)));
  if (found.length > 0) throw new Error(`The site has ${found.length} dead links:\n  ${found.join('\n  ')}`);
}
