import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, expect, test } from 'vitest';
import { listCheckpoints, openFolder, partialOf, publish, readManifest, setAside, stepOf } from '../src/folder.ts';
import type { Manifest } from '../src/manifest.ts';

const root = mkdtempSync(join(tmpdir(), 'fourfold-folder-'));
afterAll(() => rmSync(root, { recursive: true }));
let counter = 0;
const newFolder = () => join(root, String(counter++));

const about = (step: number): Manifest => ({
  ...{ format: 1, step, updates: step, layout: { dp: 1, pp: 1, cp: 1, tp: 1 } },
  ...{ settings: {}, model: {}, tokens: 1, files: [] },
});
async function put(folder: string, step: number, keep: number): Promise<void> {
  mkdirSync(partialOf(folder, step), { recursive: true });
  await publish(folder, about(step), keep);
}

test('published: visible under its own name, newest first, and the oldest go', async () => {
  const folder = newFolder();
  await openFolder(folder);
  for (const step of [8, 9, 10, 1000000]) await put(folder, step, 3);
  expect(await listCheckpoints(folder)).toEqual(['step-1000000', 'step-000010', 'step-000009']);
  expect(readdirSync(folder)).toHaveLength(3);
  expect(await readManifest(join(folder, 'step-000010'))).toEqual(about(10));
  expect(stepOf('some/where/step-000010')).toBe(10);
});

test('keep 1 keeps the newest, keep 0 all; nothing else in the folder is touched', async () => {
  const folder = newFolder();
  mkdirSync(folder);
  writeFileSync(join(folder, 'notes.txt'), 'mine');
  for (const step of [1, 2, 3]) await put(folder, step, 0);
  expect(await listCheckpoints(folder)).toHaveLength(3);
  await put(folder, 4, 1);
  expect(readdirSync(folder).sort()).toEqual(['notes.txt', 'step-000004']);
});

test('what a killed run began is not listed, and removed by the next one', async () => {
  const folder = newFolder();
  await put(folder, 1, 0);
  mkdirSync(partialOf(folder, 2));
  writeFileSync(join(partialOf(folder, 2), 'rank-0000.safetensors'), 'half');
  expect(await listCheckpoints(folder)).toEqual(['step-000001']);
  await openFolder(folder);
  expect(readdirSync(folder)).toEqual(['step-000001']);
});

test('a damaged one is set aside, and its name is free', async () => {
  const folder = newFolder();
  await put(folder, 1, 0);
  await setAside(folder, 'step-000001');
  await put(folder, 1, 0);
  await setAside(folder, 'step-000001');
  expect(readdirSync(folder)).toEqual(['step-000001.damaged']);
});

test('no folder: no checkpoints; a folder that can not be made, or no manifest: a sentence', async () => {
  expect(await listCheckpoints(join(root, 'nowhere'))).toEqual([]);
  const file = join(root, 'file');
  writeFileSync(file, '');
  await expect(openFolder(join(file, 'inside'))).rejects.toThrow(
    /^checkpoints=.*inside can't be written .*: name a folder/,
  );
  await expect(openFolder(join(file, 'inside'))).rejects.toBeInstanceOf(UserError);
  await expect(readManifest(root)).rejects.toThrow(/is no checkpoint: ENOENT/);
  expect(existsSync(join(file, 'inside'))).toBe(false);
});
