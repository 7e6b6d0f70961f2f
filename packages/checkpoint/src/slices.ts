/**
 * safetensors files a piece at a time: what a rank reads is its slice of a tensor, and what is written is one tensor
 * after another, each made when its turn comes. A model larger than the memory passes through.
 *
 * Both happen at once, while everything else waits: a model's parameters get their first values so, one by one. The
 * format is told in safetensors.ts, its checks are header.ts's.
 */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { fillSync, openFile } from './files.ts';
// biome-ignore format: a list
import {
  ARRAYS, asBytes, byteSize, type Entry, emptyHeader, emptyPrefix, layOut, type Metadata, PREFIX, parseHeader,
} from './header.ts';
import type { TensorData, TensorInfo } from './safetensors.ts';

/** A safetensors file that is read a part at a time. */
export interface SlicedFile {
  /** By name. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** What the file says of itself. */
  readonly metadata: Metadata;
  /** A tensor's elements from number `from` up to `to`; UserError where they can't be read. */
  read(name: string, from: number, to: number): TensorData;
  /** Closes the file. */
  close(): void;
}

/** Opens `path` and checks its whole header. Throws UserError with the file and what is wrong. */
export function openSlices(path: string): SlicedFile {
  const { file, size } = openFile(path);
  try {
    const prefix = emptyPrefix(size);
    fillSync(file, asBytes(prefix), 0);
    const header = emptyHeader(prefix, size);
    fillSync(file, header, PREFIX);
    const dataStart = PREFIX + header.length;
    const { entries, metadata } = parseHeader(header, size - dataStart);
    return { ...sliced(path, file, entries, dataStart), metadata };
  } catch (error) {
    closeSync(file);
    throw new UserError(`${path} is no sound safetensors file: ${messageOf(error)}`);
  }
}

function sliced(
  path: string,
  file: number,
  entries: ReadonlyMap<string, Entry>,
  dataStart: number,
): Omit<SlicedFile, 'metadata'> {
  return {
    tensors: entries,
    close: () => closeSync(file),
    read(name, from, to) {
      const { dtype, begin } = entries.get(name) as Entry;
      const data = new ARRAYS[dtype](to - from);
      try {
        fillSync(file, asBytes(data), dataStart + begin + from * data.BYTES_PER_ELEMENT);
      } catch (error) {
        throw new UserError(`${path} cannot be read at "${name}": ${messageOf(error)}`);
      }
      return data;
    },
  };
}

/** A tensor that is made when it is written. */
export type MadeTensor = TensorInfo & { readonly make: () => Promise<TensorData> };

/**
 * Writes a new file, in the order of the format, and brings it to the disk.
 *
 * @throws TypeError where a tensor that was made has other bytes than its dtype and shape take; and Node's Error where
 *   the file is there already or can't be written
 */
export async function writeInTurn(path: string, tensors: ReadonlyMap<string, MadeTensor>, notes: Metadata) {
  const { header, sorted } = layOut(tensors, notes);
  const file = openSync(path, 'wx');
  try {
    write(file, asBytes(BigUint64Array.of(BigInt(header.length))));
    write(file, header);
    for (const [name, { make, ...info }] of sorted) {
      const data = await make();
      if (data.byteLength !== byteSize(info))
        throw new TypeError(`"${name}": ${data.byteLength} bytes for ${info.dtype} [${info.shape}]`);
      write(file, asBytes(data));
    }
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function write(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; )
    done += writeSync(file, bytes, done, Math.min(bytes.length - done, 2 ** 30));
}
