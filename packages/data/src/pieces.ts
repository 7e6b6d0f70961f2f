/**
 * Texts cut into pieces of 64 KB, so that a text of any size is tokenized in little memory.
 *
 * Where one cuts matters: the pieces' tokens should be those of the whole text. Byte pair encoders split a text into
 * words before they look at it, each with the space before it, and split a run of white space by what comes after it.
 * So a single line end between two visible characters is a safe place to cut behind, and a single space between two is
 * one to cut before. Where a whole piece has neither, the cut falls between two characters and may cost a token.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { UserError } from '@fourfold/runtime/errors';
import type { Corpus, TextFile } from './corpora.ts';

/** Bytes [start, end) of a file. */
export interface Span {
  readonly path: string;
  readonly start: number;
  readonly end: number;
}

/** A piece of text and its length in UTF-8 bytes. */
export interface Piece {
  readonly text: string;
  readonly bytes: number;
}

/** Bytes read at once, and therefore the length of a piece. */
const PIECE_BYTES = 2 ** 16;

const NEWLINE = 0x0a;
const SPACE = 0x20; // the other white space and control characters of ASCII lie below it

/**
 * Parts a corpus by position: the last `validationFraction` of its bytes is for validation, from the start of the line
 * in which it falls (or else the word, or the character). Parting bytes and not tokens gives every tokenizer the same
 * validation text, and makes the bytes of either part exact, so bits per byte mean the same with any vocabulary.
 */
export function partTexts(corpus: Corpus, validationFraction: number): { train: Span[]; validation: Span[] } {
  let left = Math.floor(corpus.bytes * (1 - validationFraction)); // bytes that training may still have
  const train: Span[] = [];
  const validation: Span[] = [];
  for (const file of corpus.files) {
    const cut = left >= file.bytes ? file.bytes : left > 0 ? cutBefore(file, left) : 0;
    if (cut > 0) train.push({ path: file.path, start: 0, end: cut });
    if (cut < file.bytes) validation.push({ path: file.path, start: cut, end: file.bytes });
    left -= file.bytes;
  }
  return { train, validation };
}

/** The last safe cut at or before byte `position`, looking back one piece at most. */
function cutBefore(file: TextFile, position: number): number {
  const start = Math.max(0, position - PIECE_BYTES);
  const handle = openSync(file.path, 'r');
  try {
    return start + lastCut(readBytes(handle, start, position + 1 - start));
  } finally {
    closeSync(handle);
  }
}

/**
 * The text of some spans, piece by piece.
 *
 * @throws UserError where a file isn't UTF-8
 */
export function* piecesOf(spans: readonly Span[], pieceBytes = PIECE_BYTES): Generator<Piece> {
  for (const { path, start, end } of spans) {
    const handle = openSync(path, 'r');
    try {
      for (let at = start; at < end; ) {
        const window = readBytes(handle, at, Math.min(pieceBytes, end - at));
        if (window.length === 0) throw new UserError(`data=${path} became shorter while it was read: start again`);
        const piece = at + window.length < end ? window.subarray(0, lastCut(window)) : window;
        yield { text: textOf(piece, path, at), bytes: piece.length };
        at += piece.length;
      }
    } finally {
      closeSync(handle);
    }
  }
}

/** Which places will do for a cut before byte `i` of a text, best first: a line's start, a word's, a character's. */
const CUTS: readonly ((text: (i: number) => number, i: number) => boolean)[] = [
  (text, i) => text(i - 2) > SPACE && text(i - 1) === NEWLINE && text(i) > SPACE,
  (text, i) => text(i - 1) > SPACE && text(i) === SPACE && text(i + 1) > SPACE,
  (text, i) => (text(i) & 0xc0) !== 0x80, // 10xxxxxx continues a character in UTF-8
];

/** How many bytes of `window` to take: up to the last of its best places for a cut. */
function lastCut(window: Buffer): number {
  const byteAt = (i: number) => window[i] ?? 0;
  for (const allowed of CUTS) {
    for (let i = window.length - 1; i > 0; i--) if (allowed(byteAt, i)) return i;
  }
  return window.length;
}

/** Bytes [start, start + count) of an open file, fewer where it ends. */
function readBytes(handle: number, start: number, count: number): Buffer {
  const buffer = Buffer.alloc(count);
  return buffer.subarray(0, readSync(handle, buffer, 0, count, start));
}

/** Decodes UTF-8 and keeps every character, a byte order mark too. */
function textOf(bytes: Buffer, path: string, start: number): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new UserError(
      `data=${path} isn't UTF-8 text (between bytes ${start} and ${start + bytes.length}): ` +
        'convert it, for example with iconv -c -f latin1 -t utf-8',
    );
  }
}
