/** The site as docs:build wrote it; nx builds it before these tests. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { deadLinks, readPages } from '../src/dead-links.ts';
import { dist, requireBuilt } from '../src/serve.ts';
import { root } from '../src/site.ts';
import { filesIn, groups, linkOf } from '../src/walk/files.ts';

beforeAll(() => requireBuilt());

const filesBelow = (folder: string): string[] => readdirSync(folder, { recursive: true, encoding: 'utf8' });

test('every Markdown file of docs and every walkthrough is a page', () => {
  const pages = [...readPages(dist).keys()];
  const markdown = filesBelow(join(root, 'docs')).filter((name) =>
    /^(?!node_modules|\.|src|test)[^[\]]*\.md$/.test(name),
  );
  const walkthroughs = groups().flatMap(({ files }) => files.map((file) => linkOf(file).slice(1)));
  const expected = [
    ...markdown.map((name) => name.replace(/\.md$/, '.html')),
    ...walkthroughs,
    'walk/index.html',
    '404.html',
  ];
  expect(pages.sort()).toEqual([...new Set(expected)].sort());
});

test('links, anchors and assets of all pages are alive', () => {
  const found = new Set(filesBelow(dist));
  expect(deadLinks(readPages(dist), '/', (path) => found.has(path))).toEqual([]);
});

const core = ['model', 'data-parallel', 'tensor-parallel', 'pipeline-parallel', 'context-parallel', 'train'];

test.each(core)('every line of %s is in the page exactly once', (name) => {
  const [file = ''] = filesIn(`packages/${name}/src`);
  const html = readFileSync(join(dist, linkOf(file)), 'utf8');
  const lines = readFileSync(join(root, file), 'utf8').replace(/\n$/, '').split('\n');
  const anchors = [...html.matchAll(/ id="L(\d+)"/g)].map(([, line]) => Number(line));
  expect(anchors).toEqual(lines.map((_, at) => at + 1));
  const shown = [...html.matchAll(/<span id="L(\d+)"><a [^>]*><\/a>(.*?)<\/span>(?=\n|<\/code>)/g)];
  for (const [, number, code] of shown) expect(plain(code as string)).toBe(lines[Number(number) - 1]);
  const comments = lines.filter((_, at) => !shown.some(([, number]) => Number(number) === at + 1));
  for (const line of comments) expect(line).toMatch(/^($|\/\/|\/\*\*| \*)/);
});

/** A line's text out of its HTML. */
const plain = (html: string): string =>
  html
    .replaceAll(/<[^>]*>/g, '')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&amp;', '&');

test("the search's index has the comments of walkthroughs beside the pages", () => {
  const chunks = join(dist, 'assets/chunks');
  const [index = ''] = readdirSync(chunks).filter((name) => name.includes('localSearchIndexroot'));
  const text = readFileSync(join(chunks, index), 'utf8');
  expect(text).toContain('/walk/data-parallel/data-parallel.ts.html#L');
  expect(text).toContain('/serve.html');
});
