import { join } from 'node:path';
import { createMarkdownRenderer } from 'vitepress';
import { expect, test } from 'vitest';
import { hrefOf, repositoryLinks } from '../src/links.ts';
import { repository, root } from '../src/site.ts';

const page = join(root, 'docs/chapters/idea.md');
const walked = new Set(['packages/ops/src/rope.ts']);
const href = (link: string): string => hrefOf(link, page, walked);

test('a file with a walkthrough is linked there, with its line', () => {
  expect(href('../../packages/ops/src/rope.ts')).toBe('/walk/ops/rope.ts.html');
  expect(href('../../packages/ops/src/rope.ts#L7')).toBe('/walk/ops/rope.ts.html#L7');
});

test('other files and folders are linked in the repository', () => {
  expect(href('../../packages/ops/src/linear.ts')).toBe(`${repository}/blob/main/packages/ops/src/linear.ts`);
  expect(href('../../packages/ops/')).toBe(`${repository}/tree/main/packages/ops`);
  expect(href('../images/loss.svg')).toBe(`${repository}/blob/main/docs/images/loss.svg`);
  expect(href('../../README.md#layouts')).toBe(`${repository}/blob/main/README.md#layouts`);
});

test('pages of the site and other sites stay as they are', () => {
  for (const link of ['../serve.md#ports', '/walk/', '#there', 'https://example.org/x.ts', 'mailto:a@b.c'])
    expect(href(link)).toBe(link);
});

test('a file that is not there stops the build', () => {
  expect(() => href('../../packages/ops/src/gone.ts')).toThrow(
    'docs/chapters/idea.md links to ../../packages/ops/src/gone.ts, but there is no packages/ops/src/gone.ts',
  );
});

test('VitePress has its links pass through it', async () => {
  const markdown = await createMarkdownRenderer(join(root, 'docs'), { config: (md) => md.use(repositoryLinks) }, '/x/');
  const html = markdown.render('[rope](../packages/ops/src/rope.ts#L7) [s](serve.md)', {
    path: join(root, 'docs/a.md'),
  });
  expect(html).toContain('href="/x/walk/ops/rope.ts.html#L7"');
  expect(html).toContain('href="./serve.html"');
});
