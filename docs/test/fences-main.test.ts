/**
 * Every page of this repository: its code is type-checked and run, and its outputs and quotations are what it shows.
 * `npx nx run docs:fences -- --write` mends what only needs to be written anew.
 */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { checkPage, sentencesOf } from '../src/fences/main.ts';
import { type Page, pageOf, readPages } from '../src/fences/pages.ts';
import { checkTypes, writePrograms } from '../src/fences/program.ts';

const root = join(import.meta.dirname, '../..');
const pages = readPages(root);
const files = writePrograms(root, pages);
const lesson = (page: Page) => page.path.startsWith('docs/chapters/') && !page.path.endsWith('index.md');

test('there is code in every chapter, and in the README', () => {
  const without = pages.filter((page) => (lesson(page) || page.path === 'README.md') && !files.has(page));
  expect(without.map(({ path }) => path)).toEqual([]);
});

test('the code of all pages is type-checked', { timeout: 240_000 }, () => {
  expect(checkTypes(root, files)).toEqual([]);
});

test.concurrent.each(pages.map((page) => [page.path, page] as const))(
  '%s shows what is so',
  { timeout: 240_000 },
  async (_, page) => {
    expect(sentencesOf(await checkPage(page, files.get(page), root))).toEqual([]);
  },
);

test('a page that shows something else is told so, with its line and what is', async () => {
  const page = pageOf('docs/test-wrong.md', '```ts\nconsole.log(1);\n```\n\n```text output\n2\n```\n');
  const checked = await checkPage(page, writePrograms(root, [page]).get(page), root);
  expect(sentencesOf(checked)).toEqual(['docs/test-wrong.md:5 shows\n2\n\nand it is\n1']);
});

test('a page whose program fails is told so', async () => {
  const page = pageOf('docs/test-throws.md', '```ts\nthrow new Error("this one");\n```\n');
  const [sentence] = sentencesOf(await checkPage(page, writePrograms(root, [page]).get(page), root));
  expect(sentence).toMatch(/^docs\/test-throws.md can't be run: [\s\S]*this one/);
});
