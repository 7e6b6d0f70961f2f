import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, expect, test } from 'vitest';
import { fillSync, isFile, openFile, readJson, readText } from '../src/files.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-files-'));
afterAll(() => rmSync(folder, { recursive: true }));
const put = (name: string, contents: string | Uint8Array) => {
  writeFileSync(join(folder, name), contents);
  return join(folder, name);
};

test('a file of at most so many bytes is read, a longer one is refused unread', () => {
  const path = put('a.json', '{"a": 1}');
  expect(readJson(path, 8)).toEqual({ a: 1 });
  expect(() => readText(path, 7)).toThrow(new UserError(`${path} has 8 bytes: a file of this name has at most 7`));
});

test('a folder, a pipe and nothing are no files, and a pipe is not waited for', () => {
  mkdirSync(join(folder, 'folder'));
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  for (const path of [join(folder, 'folder'), pipe]) {
    expect(isFile(path)).toBe(false);
    expect(() => openFile(path)).toThrow(new UserError(`${path} is no file`));
  }
  expect(isFile(join(folder, 'none'))).toBe(false);
  expect(() => openFile(join(folder, 'none'))).toThrow(UserError);
});

test('what is no UTF-8 or no JSON is refused by name', () => {
  expect(() => readText(put('b', Uint8Array.of(0xff, 0xfe)), 10)).toThrow(UserError);
  expect(() => readJson(put('c', '{'), 10)).toThrow(/c is not valid JSON/);
});

test('bytes from a place on, and an error where the file ends before', () => {
  const { file, size } = openFile(put('d', 'abcdef'));
  const bytes = new Uint8Array(3);
  fillSync(file, bytes, 2);
  expect([size, Buffer.from(bytes).toString()]).toEqual([6, 'cde']);
  expect(() => fillSync(file, bytes, 4)).toThrow('the file ends 1 bytes too early');
  closeSync(file);
});
