/**
 * The house rules, held against this repository. What each check means and that it can fail is tested beside it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from '../prepare.mjs';
import { checkDeclared, checkImports } from '../src/ladder.ts';
import { checkShape } from '../src/shape.ts';
import { readManifests, readSources } from '../src/sources.ts';
import { checkLock, checkOneFile, checkTested } from '../src/workspace.ts';

const sources = readSources(root);
const manifests = readManifests(root);
const isTest = (path: string): boolean => path.includes('/test/') || path.endsWith('.test.ts');
const code = sources.filter(({ path }) => !isTest(path));

test('there is something to hold to the rules', () => {
  expect(sources.map(({ path }) => path)).toContain('packages/runtime/src/errors.ts');
  expect(manifests.map(({ name }) => name)).toContain('@fourfold/runtime');
});

test('source files are under 300 lines and 120 columns, say what they do, in short typed functions', () => {
  expect(sources.flatMap(checkShape)).toEqual([]);
});

test('imports point down the ladder and are declared', () => {
  expect(sources.flatMap((source) => checkImports(source, manifests))).toEqual([]);
  expect(manifests.flatMap(checkDeclared)).toEqual([]);
});

test('each of the six core packages is one file', () => {
  expect(checkOneFile(code.map(({ path }) => path))).toEqual([]);
});

test('every source file has a test of the same name', () => {
  expect(checkTested(sources)).toEqual([]);
});

test('the lock file installs from any registry on any platform', () => {
  expect(checkLock(readFileSync(join(root, 'package-lock.json'), 'utf8'))).toEqual([]);
});
