import { expect, test } from 'vitest';
import { repository } from '../src/site.ts';
import { groups, shortOf } from '../src/walk/files.ts';
import { aboutOf, htmlOfIndex, htmlOfPage, type Page, readPage } from '../src/walk/page.ts';
import { partsOf } from '../src/walk/parts.ts';

const pageOf = (text: string): Page => ({ file: 'packages/ops/src/x.ts', text, parts: partsOf(text) });
const walked = new Set(['packages/ops/src/rope.ts', 'packages/model/src/model.ts']);
const html = (text: string): string => htmlOfPage(pageOf(text), walked);

test("a part is prose and code with the file's numbers", () => {
  const [first, second] = html('/** One. */\nlet a;\n\n// Two `b`.\nlet b = 1;\n').split('\n<section');
  expect(first).toContain('<p>One.</p>');
  expect(first).toContain(
    '<a href="#L2" data-line="2" tabindex="-1" aria-hidden="true"></a><span class="k">let</span> a;',
  );
  expect(second).toContain('<p>Two <code>b</code>.</p>');
  expect(second).toContain('data-line="5"');
});

test('the opening part and one with a wide picture are one below the other', () => {
  const wide = html(`// a\nlet a;\n// b\nlet b;\n// c\n//\n//     ${'x'.repeat(60)}\nlet c;\n`).match(
    /walk-part( wide)?/g,
  );
  expect(wide).toEqual(['walk-part wide', 'walk-part', 'walk-part wide']);
});

test('paths in prose lead to walkthroughs, relatively, or to the repository', () => {
  const shown = html('/** See packages/ops/src/rope.ts, packages/model/src/model.ts and docs/src/site.ts. */\n');
  expect(shown).toContain('<a href="rope.ts.html">');
  expect(shown).toContain('<a href="../model/model.ts.html">');
  expect(shown).toContain(`<a href="${repository}/blob/main/docs/src/site.ts">`);
});

const textOf = (shown: string): string =>
  shown
    .replaceAll(/<[^>]*>/g, '')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&amp;', '&');

const pages = groups().flatMap(({ files }) => files.map((file) => readPage(file)));
const shownPages = pages.map((page) => ({ page, shown: htmlOfPage(page, walked) }));

test("each file's HTML has an anchor for each line, once and in order, and its code letter by letter", () => {
  for (const { page, shown } of shownPages) {
    const lines = page.text.replace(/\n$/, '').split('\n').length;
    const anchors = [...shown.matchAll(/ id="L(\d+)"/g)].map(([, line]) => Number(line));
    expect(anchors, page.file).toEqual(Array.from({ length: lines }, (_, i) => i + 1));
    const code = [...shown.matchAll(/<pre class="walk-code"[^>]*><code>([\s\S]*?)<\/code>/g)].map(([, one]) =>
      textOf(one as string),
    );
    expect(code, page.file).toEqual(
      page.parts.filter((part) => part.code.text.length).map((part) => part.code.text.join('\n')),
    );
  }
});

const wordsOf = (text: string): string[] => text.match(/[\p{L}\p{N}]+/gu) ?? [];

test('every word of a comment is in its prose', () => {
  for (const { page, shown } of shownPages) {
    const there = new Set(wordsOf(textOf(shown)));
    const said = page.parts.flatMap(({ prose }) => prose.text.flatMap(wordsOf));
    const lost = said.filter((word) => word !== 'throws' && word !== 'returns' && !there.has(word));
    expect(lost, page.file).toEqual([]);
  }
});

test('the index names each file with its first sentence', () => {
  const index = htmlOfIndex();
  const files = groups().flatMap((group) => group.files);
  for (const file of files) expect(index).toContain(`<a href="${shortOf(file)}.html">`);
  const page = readPage('packages/ops/src/layer.ts');
  expect(aboutOf(page)).toBe('A layer is a function that returns its value and its pullback.');
  expect(index).toContain(aboutOf(page));
  expect(files.filter((file) => aboutOf(readPage(file)) === '')).toEqual([]);
});
