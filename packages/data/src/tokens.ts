/**
 * Tokens on disk: a text is tokenized once, kept in the user's cache, and read by slice.
 *
 *     bytes 0..511   a line of JSON: what the file is made from, its counts, a checksum; filled up with spaces
 *     from 512       the train part's ids, then the validation part's: uint16 where the vocabulary has at most
 *                    65536 symbols, else uint32, lowest byte first
 *
 * So GPT-2's tokens of the State of the Union addresses take 4 MB, and reading a batch of 8 x 1025 of them costs eight
 * reads of 2 KB, however long the text is. `head -c 512 FILE` shows what a file holds.
 */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { cacheDirectory } from '@fourfold/runtime/cache';
import { UserError } from '@fourfold/runtime/errors';
import { progressBar } from '@fourfold/runtime/progress';
import type { Corpus } from './corpora.ts';
import { partTexts, piecesOf, type Span } from './pieces.ts';
import { putFile } from './put-file.ts';
import type { Tokenizer } from './tokenizers.ts';

/** One part of a tokenized text. */
export interface Tokens {
  /** Which part this is: what is trained on, or what is kept from it. */
  readonly part: 'train' | 'validation';
  /** How many tokens it has. */
  readonly count: number;
  /**
   * Length of the part's text in UTF-8 bytes. Bits per byte are nats per token x count / bytes / ln 2: exact over the
   * whole part, and over any of it at byte level, where count = bytes.
   */
  readonly bytes: number;
  /** Ids [start, start + count), read from the disk. Throws RangeError where the part doesn't have them. */
  read(start: number, count: number): Int32Array;
}

/** A text that has become tokens, open for reading. */
export interface TokenizedText {
  /** What is trained on: the text's beginning. */
  readonly train: Tokens;
  /** What is kept from training: the text's end. */
  readonly validation: Tokens;
  /** The largest id in the text. */
  readonly largestId: number;
  /** Closes its files. */
  close(): void;
}

/** What to tokenize, and how. */
export interface TokenizeOptions {
  /** The text. */
  readonly corpus: Corpus;
  /** What makes tokens of it. */
  readonly tokenizer: Tokenizer;
  /** How much of the text's end is kept from training: 0 to 1, default 0.1. */
  readonly validationFraction?: number;
  /** The folder that keeps the tokens for the next time; default: the user's cache. */
  readonly cache?: string;
}

interface Counts {
  readonly count: number;
  readonly bytes: number;
}

interface Header {
  /** A hash of everything that the tokens depend on. */
  readonly source: string;
  readonly idBytes: 2 | 4;
  readonly largestId: number;
  readonly train: Counts;
  readonly validation: Counts;
}

const FORMAT = 'fourfold tokens 1';
const HEADER_BYTES = 512;
const CHUNK_BYTES = 2 ** 20;

/**
 * The tokens of a corpus: from the cache where they are there, whole, and made from these very texts, else made now.
 *
 * @throws UserError where a text can't be read, isn't UTF-8 or has something that the tokenizer has no token for
 */
export async function openTokens(options: TokenizeOptions): Promise<TokenizedText> {
  const { corpus, tokenizer, validationFraction = 0.1, cache = cacheDirectory() } = options;
  const recipe = [FORMAT, tokenizer.name, tokenizer.vocabularySize, validationFraction];
  const name = hashOf([...recipe, corpus.files.map((file) => file.path)]).slice(0, 24);
  const path = join(cache, 'tokens', `${name}.tokens`);
  const source = hashOf([...recipe, corpus.files]);

  const kept = openKept(path, source);
  if (kept) return kept;
  await putFile(path, (temporary) => tokenize(temporary, source, corpus, tokenizer, validationFraction));
  const made = openKept(path, source);
  if (made) return made;
  throw new Error(`${path} was changed while it was opened`);
}

const hashOf = (value: unknown): string => createHash('sha256').update(JSON.stringify(value)).digest('hex');

/**
 * Refuses a text with ids that a model has no row for.
 *
 * @throws UserError where the text's largest id is beyond the model's vocabulary
 */
export function checkVocabulary(text: TokenizedText, tokenizer: Tokenizer, vocabularySize: number): void {
  if (text.largestId < vocabularySize) return;
  throw new UserError(
    `vocabulary=${vocabularySize} is too small for token ${text.largestId} of tokenizer ${tokenizer.name}: ` +
      `use at least ${tokenizer.vocabularySize}`,
  );
}

// Making the file. Memory holds one piece of text and its tokens at a time; the header comes last, when all counts are
// known, into the room that was left for it.

/** Tokenizes the corpus into a new file at `path`. */
async function tokenize(path: string, source: string, corpus: Corpus, tokenizer: Tokenizer, fraction: number) {
  const spans = partTexts(corpus, fraction);
  const idBytes = tokenizer.vocabularySize <= 2 ** 16 ? 2 : 4;
  const bar = progressBar({ label: `Tokenizing ${corpus.name}`, total: corpus.bytes, unit: 'bytes' });
  const file = openSync(path, 'w');
  try {
    const written: Written = { file, idBytes, checksum: 0, largestId: 0 };
    writeFileSync(file, Buffer.alloc(HEADER_BYTES));
    const train = await append(written, spans.train, tokenizer, (bytes) => bar.update(bytes));
    const validation = await append(written, spans.validation, tokenizer, (bytes) => bar.update(train.bytes + bytes));
    const header: Header = { source, idBytes, largestId: written.largestId, train, validation };
    writeSync(file, headerLine(header, written.checksum), 0);
  } finally {
    closeSync(file);
    bar.done();
  }
}

/** A file that grows, with what has to be known of its ids at the end. */
interface Written {
  readonly file: number;
  readonly idBytes: 2 | 4;
  checksum: number;
  largestId: number;
}

/** Tokenizes some spans of text onto the file's end. */
async function append(written: Written, spans: Span[], tokenizer: Tokenizer, progress: (bytes: number) => void) {
  let count = 0;
  let bytes = 0;
  for (const piece of piecesOf(spans)) {
    const ids = tokenizer.encode(piece.text);
    const block = written.idBytes === 2 ? Uint16Array.from(ids) : Uint32Array.from(ids);
    writeFileSync(written.file, block); // at the file's end; x86 and ARM store low bytes first
    written.checksum = crc32(new Uint8Array(block.buffer), written.checksum);
    for (const id of ids) written.largestId = Math.max(written.largestId, id);
    count += ids.length;
    bytes += piece.bytes;
    progress(bytes);
    await setImmediate(); // lets signals in: Ctrl-C needn't wait for the last piece
  }
  return { count, bytes };
}

/** The header's 512 bytes. The checksum goes over the ids and then over the header's other fields. */
function headerLine(header: Header, idsChecksum: number): string {
  const checksum = crc32(JSON.stringify(header), idsChecksum);
  return `${JSON.stringify({ format: FORMAT, checksum, header }).padEnd(HEADER_BYTES - 1)}\n`;
}

// Opening it again. The ids are read once to compare the checksum, a block at a time (about a second a gigabyte); so a
// file that was cut short, or changed in a single bit, is made anew and never trained on.

/** Opens the file at `path` if it is there, made from `source`, and undamaged. */
function openKept(path: string, source: string): TokenizedText | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return undefined;
  }
  const header = checkedHeader(file, source);
  if (!header) {
    closeSync(file);
    return undefined;
  }
  const { idBytes, largestId, train, validation } = header;
  return {
    train: tokensAt(file, 'train', train, HEADER_BYTES, idBytes),
    validation: tokensAt(file, 'validation', validation, HEADER_BYTES + train.count * idBytes, idBytes),
    largestId,
    close: () => closeSync(file),
  };
}

/** The header of an open file, if the whole file is as it was written. */
function checkedHeader(file: number, source: string): Header | undefined {
  const first = Buffer.alloc(HEADER_BYTES);
  readSync(file, first, 0, HEADER_BYTES, 0);
  try {
    const { header } = JSON.parse(first.toString('utf8')) as { header: Header };
    const whole = header.source === source && headerLine(header, idsChecksum(file)) === first.toString('utf8');
    return whole ? header : undefined;
  } catch {
    return undefined; // not JSON, or none of ours
  }
}

/** The checksum of everything behind the header. */
function idsChecksum(file: number): number {
  const { size } = fstatSync(file);
  const block = Buffer.alloc(CHUNK_BYTES);
  let checksum = 0;
  for (let at = HEADER_BYTES; at < size; at += CHUNK_BYTES) {
    checksum = crc32(block.subarray(0, readSync(file, block, 0, CHUNK_BYTES, at)), checksum);
  }
  return checksum;
}

/** One part of an open file: its ids begin at byte `offset`. */
function tokensAt(file: number, part: Tokens['part'], counts: Counts, offset: number, idBytes: 2 | 4): Tokens {
  const read = (start: number, count: number): Int32Array => {
    if (start < 0 || start + count > counts.count) {
      throw new RangeError(`${part} has ${counts.count} tokens, not ${start} to ${start + count}`);
    }
    const ids = idBytes === 2 ? new Uint16Array(count) : new Uint32Array(count);
    const bytesRead = readSync(file, ids, 0, ids.byteLength, offset + start * idBytes);
    if (bytesRead !== ids.byteLength) throw new Error('the token cache became shorter while it was read');
    return Int32Array.from(ids);
  };
  return { part, ...counts, read };
}
