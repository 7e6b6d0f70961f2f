import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { addressOf, pageOf, repository, root } from '../src/site.ts';

test('the root is where the workspace is', () => {
  expect(existsSync(join(root, 'nx.json'))).toBe(true);
});

test("the repository's page comes from package.json's address", () => {
  expect(pageOf('git+https://example.org/a/b.git')).toBe('https://example.org/a/b');
  expect(repository).toMatch(/^https:\/\/[\w.]+\/[\w-]+\/[\w-]+$/);
});

test('a file, a folder and nothing have an address, another, and none', () => {
  const folder = mkdtempSync(join(tmpdir(), 'site-'));
  mkdirSync(join(folder, 'a'));
  writeFileSync(join(folder, 'a/b.ts'), '');
  expect(addressOf('a/b.ts', folder, 'https://x')).toBe('https://x/blob/main/a/b.ts');
  expect(addressOf('a/', folder, 'https://x')).toBe('https://x/tree/main/a');
  expect(addressOf('a/c.ts', folder, 'https://x')).toBeUndefined();
});
