import ts from 'typescript';
import { expect, test } from 'vitest';
import { groups } from '../src/walk/files.ts';
import { readPage } from '../src/walk/page.ts';
import { type Lines, partsOf, proseOf } from '../src/walk/parts.ts';

const ranges = (text: string): string[] =>
  partsOf(text).map(({ prose, code, blank }) => [prose, code, blank].map(({ from, to }) => `${from}-${to}`).join(' '));

test('a comment, the block under it, and the blank lines under that', () => {
  expect(ranges('/** One. */\nconst a = 1;\n\n/**\n * Two.\n */\nconst b = {\n  // inside\n};\n')).toEqual([
    '1-1 2-2 3-3',
    '4-6 7-9 10-9',
  ]);
});

test('comments with blank lines alone between them are one prose; blank lines within a block are its own', () => {
  expect(ranges('// ## A\n//\n// B\n\n/** C. */\nlet x;\n\nlet y;\n\n\n')).toEqual(['1-5 6-8 9-10']);
});

test('a file may open with code and end with a comment', () => {
  expect(ranges('import a;\n// b\n\n')).toEqual(['1-0 1-1 2-1', '2-2 3-2 3-3']);
});

test('a comment behind code or indented is code', () => {
  expect(ranges('let a; // b\n  // c\n')).toEqual(['1-0 1-2 3-2']);
});

test('what is said to a tool stays with the code that it is about', () => {
  expect(ranges('/** A. */\n// biome-ignore format: a table\nlet a;\n')).toEqual(['1-1 2-3 4-3']);
  expect(ranges('import a;\n// biome-ignore format: a list\nimport b;\n')).toEqual(['1-0 1-3 4-3']);
});

test('what a comment says loses its marks alone', () => {
  const [part] = partsOf('/** One. */\n\n/**\n * Two:\n *\n *     a * b\n */\n// ## Three\n//\n// - 4\n');
  expect(proseOf(part?.prose as Lines)).toEqual(['One.', '', '', 'Two:', '', '    a * b', '', '## Three', '', '- 4']);
});

/** Lines that TypeScript's own scanner takes for a comment that begins at column 0 and fills its lines. */
function commentLines(text: string): Set<number> {
  const scanner = ts.createSourceFile('x.ts', text, ts.ScriptTarget.ES2023, true);
  const lines = new Set<number>();
  const add = (from: number, to: number): void => {
    const [first, last] = [from, to - 1].map((at) => scanner.getLineAndCharacterOfPosition(at).line) as [
      number,
      number,
    ];
    for (let line = first; line <= last; line++) lines.add(line + 1);
  };
  const visit = (node: ts.Node): void => {
    for (const { pos, end } of ts.getLeadingCommentRanges(text, node.getFullStart()) ?? [])
      if ((pos === 0 || text[pos - 1] === '\n') && !text.startsWith('// biome-ignore', pos)) add(pos, end);
    for (const child of node.getChildren()) visit(child);
  };
  visit(scanner);
  return lines;
}

const pages = groups().flatMap(({ files }) => files.map(readPage));

test('every line of every file appears exactly once: as prose, as code or as a blank line between parts', () => {
  expect(pages.length).toBeGreaterThan(150);
  for (const { file, text, parts } of pages) {
    const all = parts.flatMap(({ prose, code, blank }) => [...prose.text, ...code.text, ...blank.text]);
    expect(`${all.join('\n')}\n`, file).toBe(text);
    const numbers = parts.flatMap((part) => [part.prose, part.code, part.blank]);
    let next = 1;
    for (const { from, to, text: lines } of numbers) {
      expect([from, to], file).toEqual([next, next + lines.length - 1]);
      next = to + 1;
    }
    expect(parts.flatMap(({ blank }) => blank.text).join(''), file).toBe('');
  }
});

test('prose is what TypeScript takes for comments at column 0, and code has none of them', () => {
  const scripts = pages.filter(({ file }) => file.endsWith('.ts'));
  for (const { file, text, parts } of scripts) {
    const comments = commentLines(text);
    for (const { prose, code } of parts) {
      const wrong = [
        ...prose.text.flatMap((line, i) => (line.trim() && !comments.has(prose.from + i) ? [prose.from + i] : [])),
        ...code.text.flatMap((_, i) => (comments.has(code.from + i) ? [code.from + i] : [])),
      ];
      expect(wrong, file).toEqual([]);
    }
  }
});
