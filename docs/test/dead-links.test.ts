import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { checkLinks, deadLinks, readPages } from '../src/dead-links.ts';

const site = (index: string, base = '/') =>
  deadLinks(
    new Map([
      ['index.html', index],
      ['walk/ops/rope.ts.html', '<a href="linear.ts.html">next</a><a href="#L2">2</a><i id="L2"></i>'],
      ['walk/ops/linear.ts.html', '<h1 id="a-b">x</h1>'],
    ]),
    base,
    (path) => path === 'logo.svg',
  );

test('links to pages, to their anchors and to files are alive, relative ones too', () => {
  expect(site('<a href="/walk/ops/rope.ts.html#L2">x</a><img alt="" src="/logo.svg">')).toEqual([]);
  expect(
    site('<a href="walk/ops/linear.ts.html#a-b">x</a><a href="./walk/../">y</a><a href="https://x.y/z">z</a>'),
  ).toEqual([]);
});

test('a page, an anchor and a file that are not there are found, and who links to them', () => {
  expect(site('<a class="x" href="/walk/ops/gone.html">x</a>')).toEqual([
    '/walk/ops/gone.html leads nowhere: index.html',
  ]);
  expect(site('<a href="/walk/ops/rope.ts.html#L3">x</a>')).toEqual([
    '/walk/ops/rope.ts.html#L3 names an anchor that is not there: index.html',
  ]);
  expect(site('<a href="#there">x</a>')).toEqual(['#there names an anchor that is not there: index.html']);
  expect(site('<script src="/gone.js"></script><a href="/walk/">x</a>')).toHaveLength(2);
});

test('under a base path, a link without it is dead', () => {
  expect(site('<a href="/fourfold/walk/ops/rope.ts.html#L2">x</a><a href="/fourfold/">y</a>', '/fourfold/')).toEqual(
    [],
  );
  expect(site('<a href="/walk/ops/rope.ts.html">x</a>', '/fourfold/')).toEqual([
    '/walk/ops/rope.ts.html is outside of /fourfold/: index.html',
  ]);
});

test('a folder with a dead link is refused', () => {
  const folder = mkdtempSync(join(tmpdir(), 'links-'));
  mkdirSync(join(folder, 'a'));
  writeFileSync(join(folder, 'a/index.html'), '<a href="../b.html">x</a>');
  expect([...readPages(folder).keys()]).toEqual(['a/index.html']);
  expect(() => checkLinks(folder, '/')).toThrow('The site has dead links:\n  ../b.html leads nowhere: a/index.html');
  writeFileSync(join(folder, 'b.html'), '<a href="a/">x</a>');
  expect(() => checkLinks(folder, '/')).not.toThrow();
});
