import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hashOf, SliceCache } from '../src/cluster/slice-cache.ts';
import { newFolder } from './cluster-processes.ts';

const bytes = Uint8Array.of(1, 2, 3, 4);
const hash = hashOf(bytes);

test('what is written is there, by its hash and size, in memory of its own', () => {
  const cache = new SliceCache(newFolder());
  expect(cache.has(hash, 4)).toBe(false);
  cache.write(hash, bytes);
  expect([cache.has(hash, 4), cache.has(hash, 5)]).toEqual([true, false]);
  cache.write(hash, bytes);
  expect(cache.read(hash)).toEqual(bytes);
  expect(cache.read(hash).buffer.byteLength).toBe(4);
});

test('a slice that the disk has changed is removed, and a name that is no hash is refused', () => {
  const folder = newFolder();
  const cache = new SliceCache(folder);
  cache.write(hash, bytes);
  writeFileSync(join(folder, hash.slice(0, 2), hash), Uint8Array.of(1, 2, 3, 5));
  expect(cache.has(hash, 4)).toBe(false);
  expect(readdirSync(join(folder, hash.slice(0, 2)))).toEqual([]);
  expect(() => cache.read('../../etc/passwd')).toThrow('64 digits');
});

test('a folder that is a file is named', () => {
  const file = join(newFolder(), 'file');
  writeFileSync(file, '');
  expect(() => new SliceCache(file).write(hash, bytes)).toThrow(`--cache ${file} can't be written`);
});
