/**
 * Checks the built site's links: each leads to a page that is there and, behind a #, to an anchor that is on it.
 *
 * It reads the HTML as it was built, so links of the navigation, of sidebars and of walkthroughs count too, and images,
 * scripts and style sheets. What leads to other sites is not followed.
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

const idsOf = (html: string): Set<string> =>
  new Set([...html.matchAll(/\sid="([^"]*)"/g)].map(([, id]) => decoded(id as string)));

const addresses = /<(?:a|link|img|script)\b[^>]*?\s(?:href|src)="([^"]*)"/g;

/** What a page names as `href` or `src`, each once, without what begins with `https:` or the like. */
const addressesOf = (html: string): string[] =>
  [...new Set([...html.matchAll(addresses)].map(([, url]) => decoded(url as string)))].filter(
    (url) => !/^([a-z]+:|\/\/)/i.test(url),
  );

/** The file that an address on `page` means: `../` and `/` as a browser takes them. */
function fileOf(address: string, page: string): string {
  if (address === '') return `/${page}`;
  const full = posix.resolve(`/${posix.dirname(page)}`, address);
  return address.endsWith('/') ? posix.join(full, 'index.html') : full;
}

/** A sentence for each dead link, with the pages that have it. `isFile` tells of files that are no pages. */
export function deadLinks(pages: Pages, base: string, isFile: (path: string) => boolean): string[] {
  const ids = new Map([...pages].map(([path, html]) => [path, idsOf(html)]));
  const problemWith = (url: string, page: string): string | undefined => {
    const [address = '', anchor = ''] = url.split('#');
    const full = fileOf(address, `${base.slice(1)}${page}`);
    if (!full.startsWith(base)) return `is outside of ${base}`;
    const path = full.slice(base.length);
    if (!pages.has(path)) return isFile(path) ? undefined : 'leads nowhere';
    return anchor === '' || ids.get(path)?.has(anchor) ? undefined : 'names an anchor that is not there';
  };
  const found = new Map<string, string[]>();
  for (const [page, html] of pages)
    for (const url of addressesOf(html)) {
      const problem = problemWith(url, page);
      if (problem) found.set(`${url} ${problem}`, [...(found.get(`${url} ${problem}`) ?? []), page]);
    }
  return [...found].map(
    ([what, [first, ...more]]) => `${what}: ${first}${more.length ? ` and ${more.length} more` : ''}`,
  );
}

/** Throws if a site in `folder` has dead links, and names them all. */
export function checkLinks(folder: string, base: string): void {
  const found = deadLinks(readPages(folder), base, (path) => existsSync(join(folder, path)));
  if (found.length > 0) throw new Error(`The site has dead links:\n  ${found.join('\n  ')}`);
}
