import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { isKey, readKey } from '../../src/serve/key.ts';

const folder = mkdtempSync(join(tmpdir(), 'key-'));
afterAll(() => rmSync(folder, { recursive: true }));

const fileOf = (text: string): string => {
  const path = join(folder, `${text.length}`);
  writeFileSync(path, text);
  return path;
};

test('a key is shown as Bearer, whole and exact', () => {
  expect(isKey('Bearer a-long-key', 'a-long-key')).toBe(true);
  expect(isKey('bearer  a-long-key ', 'a-long-key')).toBe(true);
  for (const header of [undefined, '', 'a-long-key', 'Basic a-long-key', 'Bearer a-long-ke', 'Bearer a-long-keys'])
    expect(isKey(header, 'a-long-key')).toBe(false);
});

test('the file goes before the variable, and neither is no key', () => {
  expect(readKey(fileOf('from-the-file\n'), 'from-the-variable')).toBe('from-the-file');
  expect(readKey(undefined, 'from-the-variable')).toBe('from-the-variable');
  expect(readKey(undefined, undefined)).toBeUndefined();
});

test('what is no key is refused', () => {
  expect(() => readKey(fileOf('short'), undefined)).toThrow('holds no key: write one of at least 8 characters');
  expect(() => readKey(undefined, 'two words here')).toThrow('FOURFOLD_API_KEY holds no key');
  expect(() => readKey(join(folder, 'missing'), 'from-the-variable')).toThrow("missing can't be read");
});
