import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openingOf, readEntries } from '../src/api/entries.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'entries-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function write(path: string, text: string): void {
  const file = join(root, 'packages', path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

const manifest = (exports: unknown): string => JSON.stringify({ name: '@fourfold/one', exports });

test('a package with one entry has one page, named after it', () => {
  write('one/package.json', manifest('./src/one.ts'));
  write('one/src/one.ts', '/** What one does. */\nexport const one = 1;\n');
  expect(readEntries(root)).toEqual([
    {
      name: '@fourfold/one',
      packageName: '@fourfold/one',
      file: join(root, 'packages/one/src/one.ts'),
      opening: 'What one does.',
      page: 'one',
    },
  ]);
});

test("each exported source file is an entry; tests and a command's main.ts are not", () => {
  const target = { browser: './src/browser.ts', default: './src/index.ts' };
  write(
    'one/package.json',
    manifest({ '.': target, './a/b': './src/b.ts', './m': './src/main.ts', './t': './test/t.ts' }),
  );
  for (const name of ['browser', 'index', 'b', 'main']) write(`one/src/${name}.ts`, `/** ${name} */\n`);
  const entries = readEntries(root);
  expect(entries.map(({ name }) => name)).toEqual(['@fourfold/one', '@fourfold/one/a/b']);
  expect(entries.map(({ page }) => page)).toEqual(['one', 'one.a.b']);
  expect(entries.map(({ opening }) => opening)).toEqual(['index', 'b']);
});

test('a choice between browser and Node, without names, is one entry: the one for Node', () => {
  write('one/package.json', manifest({ browser: './src/browser.ts', default: './src/index.ts' }));
  write('one/src/index.ts', '/** Node. */\n');
  expect(readEntries(root).map(({ opening }) => opening)).toEqual(['Node.']);
});

test("an opening comment's pictures are fenced, as they are drawn", () => {
  const text =
    '/**\n * A ring:\n *\n *     a -> b\n *     ^    |\n *\n *      <---\n *\n * and what it is for.\n */\nimport a;\n';
  expect(openingOf(text)).toBe('A ring:\n\n```text\n    a -> b\n    ^    |\n\n     <---\n```\n\nand what it is for.');
});
