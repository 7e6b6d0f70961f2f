import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readManifests, readSources } from '../src/sources.ts';

/** A folder with these files, for the length of one test. */
function inFolder(files: Record<string, string>, body: (root: string) => void): void {
  const root = mkdtempSync(join(tmpdir(), 'fourfold-house-'));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(root, path, '..'), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    body(root);
  } finally {
    rmSync(root, { recursive: true });
  }
}

test('source files are found in every folder but those that hold nothing of ours', () => {
  const files = {
    'packages/a/src/a.ts': 'a',
    'packages/a/native/op.cc': 'op',
    'node_modules/b/index.mjs': 'b',
    '.nx/c.ts': 'c',
    '.own/d.py': 'd',
    'README.md': 'text',
  };
  inFolder(files, (root) => {
    expect(readSources(root).sort((x, y) => x.path.localeCompare(y.path))).toEqual([
      { path: 'packages/a/native/op.cc', text: 'op' },
      { path: 'packages/a/src/a.ts', text: 'a' },
    ]);
  });
});

test('a manifest lists what its package.json declares, of every kind', () => {
  const manifest = { name: '@fourfold/a', dependencies: { zod: '4' }, devDependencies: { vitest: '4' } };
  inFolder({ 'package.json': '{"name":"root"}', 'packages/a/package.json': JSON.stringify(manifest) }, (root) => {
    expect(readManifests(root).sort((x, y) => x.folder.length - y.folder.length)).toEqual([
      { folder: '', name: 'root', dependencies: [] },
      { folder: 'packages/a', name: '@fourfold/a', dependencies: ['zod', 'vitest'] },
    ]);
  });
});
