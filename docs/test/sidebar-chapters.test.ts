import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CHAPTERS, chapterSidebar } from '../src/sidebar/chapters.ts';

const folder = join(import.meta.dirname, '../chapters');

test('every chapter is listed once, under the title and number that it has', () => {
  const files = readdirSync(folder).filter((name) => name !== 'index.md');
  expect(CHAPTERS.map(([file]) => `${file}.md`).sort()).toEqual(files.sort());
  for (const [i, [file, title]] of CHAPTERS.entries())
    expect(readFileSync(join(folder, `${file}.md`), 'utf8').split('\n')[0]).toBe(`# ${i + 1}. ${title}`);
});

test('the index has them in the same order', () => {
  const index = readFileSync(join(folder, 'index.md'), 'utf8');
  const rows = [...index.matchAll(/^\| (\d+)\. \[(.+?)\]\((\w+)\.md\)/gm)].map(([, n, title, file]) => [
    n,
    file,
    title,
  ]);
  expect(rows).toEqual(CHAPTERS.map(([file, title], i) => [String(i + 1), file, title]));
});

test('the sidebar lists them all', () => {
  const links = chapterSidebar().flatMap(({ items = [] }) => items.map(({ link }) => link));
  expect(links).toEqual(CHAPTERS.map(([file]) => `/chapters/${file}`));
});
