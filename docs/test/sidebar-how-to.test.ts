import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { howToSidebar } from '../src/sidebar/how-to.ts';

const docs = join(import.meta.dirname, '..');
const links = howToSidebar().flatMap(({ items = [] }) => items.map(({ link }) => link as string));

test('what the sidebar lists is there', () => {
  expect(links.length).toBeGreaterThan(10);
  expect(links.filter((link) => !existsSync(join(docs, `${link}.md`)))).toEqual([]);
});

test('the index of the how-to pages lists the same, in the same order', () => {
  const index = readFileSync(join(docs, 'how-to.md'), 'utf8');
  expect([...index.matchAll(/^- \[.*?\]\(([\w-]+)\.md\)/gm)].map(([, page]) => `/${page}`)).toEqual(links);
});
