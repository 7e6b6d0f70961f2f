import { expect, test } from 'vitest';
import { checkDeclared, checkImports, rungs } from '../src/ladder.ts';
import type { Manifest } from '../src/sources.ts';

const manifest = (name: string, ...dependencies: string[]): Manifest => ({
  folder: `packages/${name}`,
  name: `@fourfold/${name}`,
  dependencies,
});
const manifests = [
  { folder: '', name: 'fourfold', dependencies: ['vitest'] },
  manifest('ops', '@fourfold/runtime', '@tensorflow/tfjs-core'),
  manifest('model', '@fourfold/ops', '@fourfold/train'),
  manifest('tensor-parallel', '@fourfold/data-parallel', '@fourfold/model'),
  manifest('train', '@fourfold/model'),
];
const check = (path: string, text: string): string[] => checkImports({ path, text }, manifests);

test('imports of lower rungs, Node, declared libraries and the own package are well', () => {
  const text = [
    "import { readFileSync } from 'node:fs';",
    "import { UserError } from '@fourfold/runtime/errors';",
    "import type { Tensor } from '@tensorflow/tfjs-core/dist/tensor.js';",
    "import { test } from 'vitest';",
    "export * from './other.ts';",
    "import { x } from '../src/x.ts';",
    "import { y } from '@fourfold/ops/parameter';",
  ].join('\n');
  expect(check('packages/ops/test/a.test.ts', text)).toEqual([]);
});

test('an import of a higher rung is found, also as a type, re-export or dynamic import', () => {
  const complaint = [
    "packages/model/src/model.ts: the import of '@fourfold/train' is not below @fourfold/model on the ladder",
  ];
  expect(check('packages/model/src/model.ts', "import { start } from '@fourfold/train';")).toEqual(complaint);
  expect(check('packages/model/src/model.ts', "import type { Config } from '@fourfold/train';")).toEqual(complaint);
  expect(check('packages/model/src/model.ts', "export { start } from '@fourfold/train';")).toEqual(complaint);
  expect(check('packages/model/src/model.ts', "await import('@fourfold/train');")).toEqual(complaint);
});

test('packages on one rung do not import each other', () => {
  expect(check('packages/tensor-parallel/src/a.ts', "import { x } from '@fourfold/data-parallel';")).toHaveLength(1);
});

test('what is imported must be declared, and relative imports stay inside the package', () => {
  expect(check('packages/train/src/train.ts', "import { ops } from '@fourfold/ops';")).toEqual([
    "packages/train/src/train.ts: the import of '@fourfold/ops' is not declared in packages/train/package.json",
  ]);
  expect(check('packages/train/src/train.ts', "import { z } from 'zod';")).toHaveLength(1);
  expect(check('packages/train/src/train.ts', "import { x } from '../../ops/src/x.ts';")).toEqual([
    "packages/train/src/train.ts: the import of '../../ops/src/x.ts' leaves its package",
  ]);
});

test('the root of the repository may import everything', () => {
  expect(check('tiny.test.ts', "import { start } from '@fourfold/train';\nimport './packages/a/b.ts';")).toEqual([]);
});

test('a package.json declares lower rungs only, and a package that no rung names has no place', () => {
  expect(checkDeclared(manifest('train', '@fourfold/model', 'zod'))).toEqual([]);
  expect(checkDeclared(manifest('model', '@fourfold/train'))).toEqual([
    'packages/model/package.json: @fourfold/train is not below @fourfold/model on the ladder',
  ]);
  expect(checkDeclared(manifest('train', '@fourfold/novel'))).toHaveLength(1);
});

test('each package stands on one rung', () => {
  const names = rungs.flat();
  expect(new Set(names).size).toBe(names.length);
});
