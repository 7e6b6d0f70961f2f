import { mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { pageOf } from '../src/fences/pages.ts';
import {
  checkTypes,
  isProgram,
  printedBy,
  programFile,
  programOf,
  runProgram,
  writePrograms,
} from '../src/fences/program.ts';

const root = join(import.meta.dirname, '../..');
const fence = (info: string, ...lines: string[]) => ['```' + info, ...lines, '```', ''].join('\n');

test('a program has the page’s line numbers and all of its fences', () => {
  const page = pageOf('docs/a/b.md', `Words\n\n${fence('ts', 'const x = 1;')}\n${fence('ts', 'console.log(x);')}`);
  const lines = programOf(page)?.split('\n') ?? [];
  expect([lines[3], lines[7]]).toEqual(['const x = 1;', 'console.log(x);']);
  expect(programFile('/r', page)).toBe('/r/docs/.fences/a-b.ts');
});

test('quotations and other languages are no program', () => {
  const page = pageOf('x.md', fence('ts quote a.ts#b', 'const b = 1;') + fence('sh', 'ls') + fence('text output', '1'));
  expect(page.blocks.filter(isProgram)).toEqual([]);
  expect(programOf(page)).toBeUndefined();
});

test('what each fence prints is told apart, and types are checked at the page’s lines', {
  timeout: 240_000,
}, async () => {
  const text = `${fence('ts', 'const two: number = 2;', 'console.log(two);')}\n${fence('ts', 'console.log(two + 1);')}`;
  const [good, bad] = [pageOf('docs/test-good.md', text), pageOf('docs/test-bad.md', text.replace('= 2', "= 'two'"))];
  const files = writePrograms(root, [good, bad]);
  expect(checkTypes(root, files)).toEqual(["docs/test-bad.md:2: Type 'string' is not assignable to type 'number'."]);
  expect(await runProgram(files.get(good) as string, root)).toEqual(
    new Map([
      [1, '2'],
      [6, '3'],
    ]),
  );
});

test('a program that fails says where', async () => {
  const page = pageOf('docs/test-fails.md', fence('ts', 'throw new Error("this one");'));
  const file = writePrograms(root, [page]).get(page) as string;
  await expect(runProgram(file, root)).rejects.toThrow('this one');
});

test('pages without programs write no file', () => {
  const folder = mkdtempSync('/tmp/fences-');
  expect(writePrograms(folder, [pageOf('docs/plain.md', 'Words')]).size).toBe(0);
  const page = pageOf('docs/some.md', fence('ts', '1;'));
  expect(readFileSync(writePrograms(folder, [page]).get(page) as string, 'utf8')).toContain('1;');
});

test('output is cut at the marks', () => {
  expect(printedBy('before\n\0fence 3\na\nb\n\0fence 9\n')).toEqual(
    new Map([
      [3, 'a\nb'],
      [9, ''],
    ]),
  );
});
