import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, expect, test } from 'vitest';
import { putFile } from '../src/put-file.ts';

const root = mkdtempSync(join(tmpdir(), 'fourfold-put-file-'));
afterAll(() => rmSync(root, { recursive: true }));

test('a file appears whole, in a folder that is made for it', async () => {
  const path = join(root, 'new', 'folder', 'file');
  await putFile(path, async (temporary) => {
    writeFileSync(temporary, 'half ');
    expect(readdirSync(join(root, 'new', 'folder'))).not.toContain('file');
    writeFileSync(temporary, 'whole', { flag: 'a' });
  });
  expect(readFileSync(path, 'utf8')).toBe('half whole');
  expect(readdirSync(join(root, 'new', 'folder'))).toEqual(['file']);
});

test('when writing fails, the old file stays and nothing else is left', async () => {
  const folder = mkdtempSync(join(root, 'old-'));
  const path = join(folder, 'file');
  writeFileSync(path, 'old');
  const failing = putFile(path, async (temporary) => {
    writeFileSync(temporary, 'new');
    throw new Error('halfway');
  });
  await expect(failing).rejects.toThrow('halfway');
  expect(readFileSync(path, 'utf8')).toBe('old');
  expect(readdirSync(folder)).toEqual(['file']);
});

test('a full disk is a sentence that names the folder', async () => {
  // /dev/full takes no byte: writing to it fails as on a disk without room.
  const folder = mkdtempSync(join(root, 'full-'));
  const failing = putFile(join(folder, 'file'), async () => writeFileSync('/dev/full', 'x'));
  await expect(failing).rejects.toThrow(UserError);
  await expect(failing).rejects.toThrow(
    `The cache folder ${folder} can't be written (the disk is full): set FOURFOLD_CACHE`,
  );
});
