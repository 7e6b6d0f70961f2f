/**
 * A model where it lies, and its tensors as the blocks that they are stored in.
 *
 *     f32   1 weight    4 bytes           q40   32 weights   18 bytes   d, 16 x two of 4 bits          (ggml's Q4_0)
 *     bf16  1 weight    2 bytes           q41   32 weights   20 bytes   d, m, 16 x two of 4 bits       (Q4_1)
 *                                         q80   32 weights   34 bytes   d, 32 x 8 bits                 (Q8_0)
 *
 * Weights go from the file to the kernels as these bytes. A part of a matrix is some of its rows, and of those some
 * columns: whole blocks of them.
 *
 *     rows 2 to 4                     columns 32 to 64 of rows of 96
 *     ........                        [block 0] [block 1] [block 2]
 *     ########  one piece                       #########             a piece of every row
 *     ########                                  #########
 */
import { type Floats, fromFloat32, type TextEnds, toFloat32 } from '@fourfold/checkpoint';
import { dequantize, quantize, type WeightFormat } from '@fourfold/ops';
import type { ModelShape } from './shape.ts';

/** Weights and bytes of a block. */
export const BLOCKS: Readonly<Record<WeightFormat, { readonly weights: number; readonly bytes: number }>> = {
  f32: { weights: 1, bytes: 4 },
  bf16: { weights: 1, bytes: 2 },
  q40: { weights: 32, bytes: 18 },
  q41: { weights: 32, bytes: 20 },
  q80: { weights: 32, bytes: 34 },
};

/** The numbers that bytes of a format stand for. */
export function floatsOf(format: WeightFormat, bytes: Uint8Array): Float32Array {
  if (BLOCKS[format].weights > 1) return dequantize(format, bytes);
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  if (format === 'f32') return new Float32Array(buffer as ArrayBuffer, byteOffset, byteLength / 4);
  return toFloat32('BF16', new Uint16Array(buffer as ArrayBuffer, byteOffset, byteLength / 2));
}

/** Numbers as bytes of a format, whole blocks of them: rounded as ggml rounds. */
export function bytesFrom(format: WeightFormat, values: Float32Array): Uint8Array {
  if (BLOCKS[format].weights > 1) return quantize(format, values);
  const stored = format === 'f32' ? values : fromFloat32('BF16', values as Floats);
  return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
}

/** The bytes of so many weights of a format, whole blocks of them. */
export const bytesOf = (format: WeightFormat, weights: number): number =>
  (weights / BLOCKS[format].weights) * BLOCKS[format].bytes;

/** From the first up to the one after the last. */
export type Span = readonly [from: number, to: number];

export const lengthOf = ([from, to]: Span): number => to - from;

/** Some rows of a matrix, or elements of a vector; and of those rows some columns, whole blocks. Undefined: all. */
export interface Part {
  /** Undefined: all of them. */
  readonly rows?: Span;
  /** Undefined: all of them; where set, whole blocks. */
  readonly columns?: Span;
}

/** What is known of a stored tensor before it is read. */
export interface StoredTensor {
  /** What its bytes are in, as `read` gives them. */
  readonly format: WeightFormat;
  /** [rows, columns], or [elements]. */
  readonly shape: readonly number[];
}

/** A model in its files, open for reading. */
export interface StoredModel {
  /** Where it lies, for messages. */
  readonly path: string;
  /** Its shape. */
  readonly shape: ModelShape;
  /** By the names of `tensorShapes`: those and no others. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** The bytes of a tensor or a part of it, row by row. Reads while everything else waits. */
  read(name: string, part?: Part): Uint8Array;
  /** tokenizer.json and what lies beside it, by file name. */
  readonly tokenizerFiles: ReadonlyMap<string, string>;
  /** Ids of the tokens that begin and end a text. */
  readonly ends: TextEnds;
  /** Closes its files. */
  close(): void;
}

/** A file's own way to give elements `from` up to `to` of a tensor, counted row by row: whole blocks. */
export type ReadBlocks = (from: number, to: number) => Uint8Array;

/**
 * A part of a tensor out of such a reader.
 *
 * @param placeOf where the file has a row: files may order them otherwise
 */
export function readPart(
  { format, shape }: StoredTensor,
  { rows = [0, shape[0] as number], columns = [0, shape[1] ?? 1] }: Part,
  read: ReadBlocks,
  placeOf?: (row: number) => number,
): Uint8Array {
  const width = shape[1] ?? 1;
  if (!placeOf && lengthOf(columns) === width) return read(rows[0] * width, rows[1] * width);
  const rowBytes = bytesOf(format, lengthOf(columns));
  const bytes = new Uint8Array(lengthOf(rows) * rowBytes);
  for (let row = rows[0]; row < rows[1]; row++) {
    const first = (placeOf?.(row) ?? row) * width;
    bytes.set(read(first + columns[0], first + columns[1]), (row - rows[0]) * rowBytes);
  }
  return bytes;
}
