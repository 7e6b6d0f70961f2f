import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { extractWheel } from '../src/setup/extract.ts';
import { SetupFailure } from '../src/setup/failure.ts';
import { enter, makeWorld, pip, silent } from './setup-world.ts';

/** A world that this process is in, with the wheel's path and a folder to extract to. */
function makeFolder() {
  const world = enter(makeWorld());
  const wheel = world.pins.tensorflow;
  return { world, wheel, path: join(world.index, wheel.file), folder: join(world.folder, 'out') };
}
const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => statSync(join(folder, name)).isFile())
    .sort();

test('only the members that were named are extracted, under their own names', async () => {
  const { wheel, path, folder } = makeFolder();
  await extractWheel(wheel, path, folder, ['tensorflow/libtensorflow_framework.', 'tensorflow/include/'], silent);
  expect(filesIn(folder)).toEqual([
    'tensorflow/include/tensorflow/c/c_api.h',
    'tensorflow/libtensorflow_framework.so.2',
  ]);
  expect(readFileSync(join(folder, 'tensorflow/libtensorflow_framework.so.2'), 'utf8')).toBe('the framework');
});

test('a terminal sees how many bytes are written', async () => {
  const { wheel, path, folder } = makeFolder();
  const script =
    "import sys, zipfile\nzipfile.ZipFile(sys.argv[1], 'w', 8).writestr('tensorflow/lib', bytes(10_000_000))";
  execFileSync('python3', ['-c', script, path]);
  const written: string[] = [];
  const screen = { isTTY: true, columns: 80, write: (text: string) => written.push(text) };
  await extractWheel({ ...wheel, unpacked: 10_000_000 }, path, folder, ['tensorflow/'], screen);
  expect(written.join('')).toMatch(/tensorflow-cpu .* 94% {2}9 of 10 MB/); // told after 9 * 2^20 bytes
  expect(written.at(-1)).toBe('\r\x1b[K');
});

test('a wheel that is no zip file is named, with what Python says about it', async () => {
  const { wheel, path, folder } = makeFolder();
  truncateSync(path, 1000);
  await expect(extractWheel(wheel, path, folder, ['tensorflow/'], silent)).rejects.toEqual(
    new SetupFailure(`${wheel.file}: zipfile.BadZipFile: File is not a zip file`),
  );
});

test('the exit status 28 means a full disk', async () => {
  const { world, wheel, path, folder } = makeFolder();
  world.tool('python3', pip('').replace('*) exec', '*extract.py*) exit 28 ;;\n  *) exec'));
  await expect(extractWheel(wheel, path, folder, ['tensorflow/'], silent)).rejects.toThrow(/^the disk is full$/);
});
