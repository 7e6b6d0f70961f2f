import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from '../src/site.ts';
import { filesIn, groups, linkOf, shortOf } from '../src/walk/files.ts';

const all = groups();

test('each group has a sentence, and its files are there, each once', () => {
  for (const { title, about, files } of all) {
    expect(about, title).toMatch(/^[A-Z].*\.$/);
    expect(new Set(files).size, title).toBe(files.length);
    for (const file of files) expect(existsSync(join(root, file)), file).toBe(true);
  }
});

test('the packages that a reader comes for are walked through, whole', () => {
  const walked = new Set(all.flatMap(({ files }) => files));
  const packages = ['model', 'data-parallel', 'tensor-parallel', 'pipeline-parallel', 'context-parallel', 'train'];
  const folders = [...packages, 'process-group', 'ops'].map((name) => `packages/${name}/src`);
  for (const folder of [...folders, 'packages/runtime/native/cuda', 'packages/runtime/native/nccl'])
    expect(filesIn(folder).filter((file) => !walked.has(file))).toEqual([]);
});

test('what is named first comes first, folders last', () => {
  const ops = all.find(({ title }) => title === 'ops')?.files ?? [];
  expect(ops[0]).toBe('packages/ops/src/layer.ts');
  expect(ops.at(-1)).toMatch(/\/quantized\//);
});

test('a page has its file for an address, without packages/ and src/', () => {
  expect(linkOf('packages/ops/src/linear.ts')).toBe('/walk/ops/linear.ts.html');
  expect(linkOf('packages/runtime/native/cuda/rope.cu')).toBe('/walk/runtime/native/cuda/rope.cu.html');
  expect(shortOf('packages/ops/src')).toBe('ops');
});
