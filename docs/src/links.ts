/**
 * Links in the pages of docs: written so that they work where the repository is read, turned into what works here.
 *
 *     ../packages/ops/src/rope.ts       the file's walkthrough        /walk/ops/rope.ts.html
 *     ../bench/src/cpu.ts               no walkthrough: its page in the repository
 *     images/loss.svg, ../README.md     the same
 *     serve.md#ports, /walk/            pages of the site: left to VitePress
 *
 * A link to what is not there stops the build, here or, for pages and anchors, in dead-links.ts.
 */
import { dirname, relative, resolve } from 'node:path';
import type { MarkdownOptions } from 'vitepress';
import { addressOf, root } from './site.ts';
import { groups, linkOf } from './walk/files.ts';

type MarkdownIt = Parameters<NonNullable<MarkdownOptions['config']>>[0];

const isOurs = (href: string): boolean => !/^([a-z]+:|\/|#)/i.test(href);

/** Where a link of `page` (a path on this disk) leads on the site. */
export function hrefOf(href: string, page: string, walked: ReadonlySet<string>): string {
  if (!isOurs(href)) return href;
  const [, path = '', anchor = ''] = /^([^#]*)(#.*)?$/.exec(href) ?? [];
  const target = relative(root, resolve(dirname(page), decodeURIComponent(path)));
  if (target.startsWith('docs/') && /\.(md|html)$/.test(target)) return href;
  if (walked.has(target)) return `${linkOf(target)}${anchor}`;
  const address = addressOf(target);
  if (!address) throw new Error(`${relative(root, page)} links to ${href}, but there is no ${target}`);
  return `${address}${anchor}`;
}

/** Has markdown-it pass every link through hrefOf. */
export function repositoryLinks(markdown: MarkdownIt): void {
  const walked = new Set(groups().flatMap(({ files }) => files));
  markdown.core.ruler.push('repository-links', ({ tokens, env }) => {
    for (const token of tokens.flatMap(({ children }) => children ?? [])) {
      const href = token.type === 'link_open' ? token.attrGet('href') : undefined;
      if (href) token.attrSet('href', hrefOf(href, (env as { path: string }).path, walked));
    }
  });
}
