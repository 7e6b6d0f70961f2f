import { expect, test } from 'vitest';
import { checkLock, checkOneFile, checkTested } from '../src/workspace.ts';

test('a package that is one lesson is one file; others may have several, and none is yet no fault', () => {
  expect(checkOneFile(['packages/model/src/model.ts', 'packages/ops/src/a.ts', 'packages/ops/src/b.ts'])).toEqual([]);
  expect(checkOneFile(['packages/model/src/model.ts', 'packages/model/src/deep/more.ts'])).toEqual([
    'packages/model/src/ holds 2 source files: this package is one file',
  ]);
});

test('a source file has a test of its name in its own package', () => {
  const source = { path: 'packages/ops/src/rope.ts', text: 'export const x = 1;' };
  const complaint = ['packages/ops/src/rope.ts has no test: expected packages/ops/test/rope.test.ts'];
  const tested = (path: string): string[] => checkTested([source, { path, text: '' }]);
  expect(tested('packages/ops/test/rope.test.ts')).toEqual([]);
  expect(tested('packages/ops/test/heads/rope.test.ts')).toEqual([]);
  expect(tested('packages/model/test/rope.test.ts')).toEqual(complaint);
  expect(tested('packages/ops/test/europe.test.ts')).toEqual(complaint);
});

test('a file in a part may have that part in its test name, and an index may have it alone', () => {
  const count = (source: string, ...tests: string[]): number =>
    checkTested([source, ...tests].map((path) => ({ path, text: 'f();' }))).length;
  expect(count('packages/a/src/setup/lock.ts', 'packages/a/test/setup-lock.test.ts')).toBe(0);
  expect(count('packages/a/src/setup/index.ts', 'packages/a/test/setup.test.ts')).toBe(0);
  expect(count('packages/a/src/setup/lock.ts', 'packages/a/test/setup.test.ts')).toBe(1);
});

test('entries, re-exports and types need no test of their own; an index with code does', () => {
  const untested = (path: string, text: string): number => checkTested([{ path, text }]).length;
  expect(untested('packages/a/src/setup/main.ts', 'start();')).toBe(0);
  expect(untested('packages/a/src/index.ts', "export * from './b.ts';")).toBe(0);
  expect(untested('packages/a/src/types.ts', "import type { B } from './b.ts';\nexport type A = B;")).toBe(0);
  expect(untested('packages/a/src/index.ts', "export * from './b.ts';\nexport const c = 1;")).toBe(1);
  expect(untested('tools/start.mjs', 'start();')).toBe(0);
});

test('a lock file names no address', () => {
  const lock = { packages: { 'node_modules/a': { resolved: 'https://registry.example/a.tgz' }, b: { resolved: 'b' } } };
  expect(checkLock(JSON.stringify(lock))).toEqual([
    'package-lock.json: node_modules/a names https://registry.example/a.tgz',
  ]);
});

test('a lock file has an entry for every optional package, beside its parent or inside it', () => {
  const parent = { optionalDependencies: { 'a-linux': '1', 'a-win': '1' } };
  const lock = (more: object): string => JSON.stringify({ packages: { 'node_modules/a': parent, ...more } });
  expect(checkLock(lock({ 'node_modules/a-linux': {}, 'node_modules/a/node_modules/a-win': {} }))).toEqual([]);
  expect(checkLock(lock({ 'node_modules/a-linux': {} }))).toEqual([
    'package-lock.json has no entry for a-win, optional for node_modules/a',
  ]);
});
