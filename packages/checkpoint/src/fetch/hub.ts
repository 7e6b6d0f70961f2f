/**
 * Models from the Hugging Face hub by name, such as HuggingFaceTB/SmolLM2-135M.
 *
 * @huggingface/hub speaks the hub's protocol; this takes the files that a Llama needs, one after another, shows how far
 * it is, goes on where an interrupted download ended, and believes a file when its checksum is the one that the hub
 * lists: SHA-256 for large files, and git's own for small ones. The folder appears in the cache when all are there.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { progressBar, type Screen } from '@fourfold/runtime/progress';
import { downloadFile, HubApiError, type ListFileEntry, listFiles } from '@huggingface/hub';
import { isModelName, modelFolder } from '../pretrained.ts';

/** How a model is fetched from the hub. */
export interface HubOptions {
  /** The cache's folder, in which the model gets a folder of its own. */
  readonly cache: string;
  /** Default: https://huggingface.co. */
  readonly hubUrl?: string | undefined;
  /** A branch, tag or commit of the model's repository; default: main. */
  readonly revision?: string | undefined;
  /** Where the progress bar is drawn. */
  readonly screen?: Screen;
}

// Names without a folder before them: nothing that a hub says can lead out of the model's own.
const TAKEN = /^(\w[\w.-]*\.safetensors|model\.safetensors\.index\.json|(generation_)?config\.json)$/;
const TOKENIZER =
  /^((tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json|merges\.txt|chat_template\.jinja)$/;

/**
 * Puts a model into the cache, where it isn't there yet, and returns its folder.
 *
 * @throws UserError where there is no such model, the network ends, or a file isn't what the hub lists
 */
export async function fetchFromHub(name: string, options: HubOptions): Promise<string> {
  const { cache, screen = process.stderr } = options;
  if (!isModelName(name))
    throw new UserError(`${name} is no name of a model: it looks like HuggingFaceTB/SmolLM2-135M`);
  const folder = modelFolder(name, cache);
  if (existsSync(folder)) return folder;
  const unfinished = `${folder}.unfinished`;
  try {
    const files = await listed(name, options);
    mkdirSync(unfinished, { recursive: true });
    const total = files.reduce((sum, { size }) => sum + size, 0);
    screen.write(`Fetching ${name} (${Math.ceil(total / 1e6)} MB), ${files.length} files\n`);
    const bar = progressBar({ label: `  ${name}`, total, unit: 'bytes', screen });
    let before = 0;
    try {
      for (const file of files) {
        await fetchFile(name, file, unfinished, options, (bytes) => bar.update(before + bytes));
        before += file.size;
      }
    } finally {
      bar.done();
    }
    renameSync(unfinished, folder);
    return folder;
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${name} can't be fetched: ${causeOf(error)}`);
  }
}

function causeOf(error: unknown): string {
  if (error instanceof HubApiError && [401, 403].includes(error.statusCode))
    return 'the hub has no such model, or not for everybody';
  if (error instanceof HubApiError && error.statusCode === 404) return 'the hub has no such model';
  const cause = error instanceof Error && error.cause !== undefined ? `${messageOf(error.cause)}; ` : '';
  return `${cause}${messageOf(error)}; run it again to go on where it ended`;
}

/** The model's files that are wanted, the small ones first. */
async function listed(name: string, { hubUrl, revision = 'main' }: HubOptions): Promise<ListFileEntry[]> {
  const files: ListFileEntry[] = [];
  for await (const entry of listFiles({ repo: name, revision, ...(hubUrl ? { hubUrl } : {}) }))
    if (entry.type === 'file' && (TAKEN.test(entry.path) || TOKENIZER.test(entry.path))) files.push(entry);
  const has = (path: string) => files.some((file) => file.path === path);
  if (!has('config.json') || !files.some(({ path }) => path.endsWith('.safetensors')))
    throw new UserError(`${name} has no config.json with safetensors beside it: only such models can be loaded`);
  // One file of all weights beside parts of them, or others' formats beside Hugging Face's: the first is enough.
  const whole = has('model.safetensors') ? /^model\.safetensors$/ : /^model-\d+-of-\d+\.safetensors$/;
  const wanted = files.filter(({ path }) => !path.endsWith('.safetensors') || whole.test(path));
  return wanted.sort((a, b) => a.size - b.size);
}

/** Fetches what is missing of one file, and checks all of it. */
async function fetchFile(
  name: string,
  file: ListFileEntry,
  folder: string,
  { hubUrl, revision = 'main' }: HubOptions,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const [path, partial] = [join(folder, file.path), join(folder, `${file.path}.partial`)];
  if (existsSync(path)) return;
  mkdirSync(dirname(path), { recursive: true });
  const begun = statSync(partial, { throwIfNoEntry: false })?.size ?? 0;
  let done = begun <= file.size ? begun : 0;
  if (done < file.size || file.size === 0) {
    // Not through Xet, the hub's other protocol: a plain request for bytes from here on is all that resuming takes.
    const request = { repo: name, path: file.path, revision, xet: false, ...(hubUrl ? { hubUrl } : {}) };
    const blob = await downloadFile(request);
    if (!blob) throw new UserError(`${name} has no file ${file.path} any more: run it again`);
    if (blob.size !== file.size)
      throw new UserError(`${name}: ${file.path} has ${blob.size} bytes, and the hub's list says ${file.size}`);
    const count = async function* (parts: AsyncIterable<Uint8Array>) {
      for await (const part of parts) {
        done += part.length;
        if (done > file.size) throw new Error(`${file.path} does not end where it should`);
        onBytes(done);
        yield part;
      }
    };
    const rest = Readable.fromWeb(blob.slice(done).stream() as ReadableStream<Uint8Array>);
    await pipeline(rest, count, createWriteStream(partial, { flags: done > 0 ? 'a' : 'w' }));
  }
  await checkSum(name, file, partial);
  renameSync(partial, path);
}

/** Compares a file with the checksum that the hub lists; deletes it where it differs. */
async function checkSum(name: string, { path, size, oid, lfs }: ListFileEntry, file: string): Promise<void> {
  const hash = createHash(lfs ? 'sha256' : 'sha1');
  if (!lfs) hash.update(`blob ${size}\0`); // git's name for a file is the sum of this and its bytes
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk);
  if (hash.digest('hex') === (lfs?.oid ?? oid)) return;
  rmSync(file);
  throw new UserError(`${name}: ${path} is not what the hub lists (another checksum) and was deleted: run it again`);
}
