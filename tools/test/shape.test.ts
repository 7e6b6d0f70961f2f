import { expect, test } from 'vitest';
import { checkFunctions, checkOpening, checkShape, checkSize, checkTypes } from '../src/shape.ts';

const path = 'packages/a/src/a.ts';
const lines = (count: number, line = 'x();'): string => `${line}\n`.repeat(count);

test('299 lines are well, 300 are not, and a missing last newline makes no difference', () => {
  expect(checkSize({ path, text: lines(299) })).toEqual([]);
  expect(checkSize({ path, text: lines(300) })).toEqual([`${path} has 300 lines: under 300 is the rule`]);
  expect(checkSize({ path, text: `${lines(299)}x();` })).toEqual([`${path} has 300 lines: under 300 is the rule`]);
});

test('columns are characters: 120 of any kind are well, 121 are not', () => {
  expect(checkSize({ path, text: `${'é'.repeat(60)}${'😀'.repeat(60)}\n` })).toEqual([]);
  expect(checkSize({ path, text: `ok\n${'x'.repeat(121)}\n` })).toEqual([`${path}:2 is longer than 120 columns`]);
});

test('a file opens with a block comment, a Python file with a docstring, both after a #! line', () => {
  const complaint = (name: string): string[] => [`${name} does not open with a comment block that says what it does`];
  expect(checkOpening({ path, text: '/** Adds. */\nx();\n' })).toEqual([]);
  expect(checkOpening({ path, text: '#!/usr/bin/env node\n/** Adds. */\n' })).toEqual([]);
  expect(checkOpening({ path, text: '// Adds.\nx();\n' })).toEqual(complaint(path));
  expect(checkOpening({ path, text: "import x from 'x';\n/** Adds. */\n" })).toEqual(complaint(path));
  expect(checkOpening({ path: 'packages/a/test/a.test.ts', text: "import x from 'x';\n" })).toEqual([]);
  expect(checkOpening({ path: 'a.py', text: '"""Adds."""\n' })).toEqual([]);
  expect(checkOpening({ path: 'a.py', text: 'import os\n' })).toEqual(complaint('a.py'));
});

test('a function of 61 lines is too long, wherever it hides; its comment and a group of tests are not counted', () => {
  const body = (count: number): string => `{\n${lines(count - 2)}}`;
  const complaint = (line: number): string[] => [`${path}:${line} a function of 61 lines: at most 60`];
  expect(checkFunctions({ path, text: `/**\n${lines(20, ' * more')} */\nfunction f() ${body(60)}` })).toEqual([]);
  expect(checkFunctions({ path, text: `function f() ${body(61)}` })).toEqual(complaint(1));
  expect(checkFunctions({ path, text: `\nconst f = () => ${body(61)};` })).toEqual(complaint(2));
  expect(checkFunctions({ path, text: `class C {\nm() ${body(61)}\n}` })).toEqual(complaint(2));
  expect(checkFunctions({ path, text: `test('x', () => ${body(61)});` })).toEqual(complaint(1));
  expect(checkFunctions({ path, text: `describe('x', () => {\ntest('y', f);\n${body(61)}});` })).toEqual([]);
});

test('any is found as a type, not as a word', () => {
  expect(checkTypes({ path, text: '/** any */\nconst any = "any";\nlet x: unknown;\n' })).toEqual([]);
  expect(checkTypes({ path, text: 'let x: unknown;\nlet y: Array<any>;\n' })).toEqual([
    `${path}:2 says any: name the type, or use unknown`,
  ]);
  expect(checkTypes({ path, text: 'const y = x as any;\n' })).toHaveLength(1);
});

test('comments that silence the checker are found, strings that mention them are not', () => {
  expect(checkTypes({ path, text: 'const x = "@ts-ignore";\n// @ts-expect-error: the test wants it\nf();\n' })).toEqual(
    [],
  );
  expect(checkTypes({ path, text: 'f();\n// @ts-ignore\nf();\n' })).toEqual([
    `${path} silences the checker with @ts-ignore`,
  ]);
  expect(checkTypes({ path, text: '// biome-ignore lint/suspicious/noExplicitAny: lazy\nf();\n' })).toHaveLength(1);
});

test('default exports are for configuration files only', () => {
  const complaint = [`${path}:1 has a default export: name it`];
  expect(checkTypes({ path, text: 'export default 1;\n' })).toEqual(complaint);
  expect(checkTypes({ path, text: 'export default function f() {}\n' })).toEqual(complaint);
  expect(checkTypes({ path, text: 'switch (1) {\n  default:\n}\nexport const x = 1;\n' })).toEqual([]);
  expect(checkTypes({ path: 'vitest.config.ts', text: 'export default 1;\n' })).toEqual([]);
  expect(checkTypes({ path: 'docs/walk/[path].paths.ts', text: 'export default 1;\n' })).toEqual([]);
});

test('kernels are counted but not parsed', () => {
  expect(checkShape({ path: 'native/a.cu', text: '/** Adds. */\nany export default;\n' })).toEqual([]);
  expect(checkShape({ path: 'native/a.cu', text: lines(300) })).toHaveLength(2);
});
