/**
 * Tensors in files: the safetensors format, read and written from scratch.
 *
 *     bytes 0..8     n, the header's length: an unsigned 64-bit integer, little-endian
 *     bytes 8..8+n   the header, JSON: which tensors there are and where (header.ts)
 *     bytes 8+n..    the data: every tensor's elements in row-major order, little-endian, end to end
 *
 * A tensor is read by its place alone, so a rank that wants one layer of a 16 GB file reads that layer.
 * The format: https://github.com/huggingface/safetensors. The tests: `npx nx run checkpoint:test`
 */
import { randomUUID } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import {
  ARRAYS,
  asBytes,
  byteSize,
  type Entry,
  emptyHeader,
  emptyPrefix,
  layOut,
  type Metadata,
  PREFIX,
  parseHeader,
  type TensorData,
  type TensorInfo,
} from './header.ts';

export type { DType, Metadata, TensorData, TensorInfo } from './header.ts';
/** A tensor to be written: its elements in row-major order, in the array type of its dtype. */
export type StoredTensor = TensorInfo & { readonly data: TensorData };

/** An open safetensors file. */
export interface SafetensorsFile {
  /** The tensors' names, in the order of their bytes. */
  readonly names: readonly string[];
  /** What it says of itself. */
  readonly metadata: Metadata;
  /** Throws UserError where the file has no such tensor, as `read` does. */
  info(name: string): TensorInfo;
  /**
   * Reads this tensor's bytes and no others: F16 and BF16 as their bits (Uint16Array), I64 as BigInt64Array. With
   * `from` and `to` only those elements, in row-major order.
   *
   * @throws RangeError where it has no such elements, UserError where the file can't be read
   */
  read(name: string, from?: number, to?: number): Promise<TensorData>;
  /** Closes the file. */
  close(): Promise<void>;
}

/** A size that one read of the system can move. */
const MAX_READ = 2 ** 30;

/** Opens `path` and checks its whole header, reading no tensor. Throws UserError with the file and what is wrong. */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const file = await open(path).catch((error: unknown) => {
    throw new UserError(`${path} cannot be opened: ${messageOf(error)}`);
  });
  const { entries, metadata, dataStart } = await readHeader(file).catch(async (error: unknown) => {
    await file.close();
    throw new UserError(`${path} is no sound safetensors file: ${messageOf(error)}`);
  });
  const find = (name: string): Entry => {
    const entry = entries.get(name);
    if (!entry) throw new UserError(`${path} has no tensor "${name}" among its ${entries.size}`);
    return entry;
  };
  return {
    names: [...entries.keys()],
    metadata,
    info: (name) => ({ dtype: find(name).dtype, shape: find(name).shape }),
    async read(name, from = 0, to) {
      const { dtype, begin, end } = find(name);
      const width = ARRAYS[dtype].BYTES_PER_ELEMENT;
      const [first, last] = [begin + from * width, to === undefined ? end : begin + to * width];
      if (first < begin || last < first || last > end)
        throw new RangeError(`"${name}" has ${(end - begin) / width} elements, none from ${from} to ${to}`);
      const data = new ARRAYS[dtype](new ArrayBuffer(last - first));
      await readExactly(file, asBytes(data), dataStart + first).catch((error: unknown) => {
        throw new UserError(`${path} cannot be read at "${name}": ${messageOf(error)}`);
      });
      return data;
    },
    close: () => file.close(),
  };
}

async function readHeader(file: FileHandle) {
  const { size } = await file.stat();
  const prefix = emptyPrefix(size);
  await readExactly(file, asBytes(prefix), 0);
  const header = emptyHeader(prefix, size);
  await readExactly(file, header, PREFIX);
  const dataStart = PREFIX + header.length;
  return { ...parseHeader(header, size - dataStart), dataStart };
}

/** Fills `bytes` from byte `at` of the file on, in as many reads as that takes. */
async function readExactly(file: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, done, Math.min(bytes.length - done, MAX_READ), at + done);
    if (bytesRead === 0) throw new Error(`the file ends ${bytes.length - done} bytes too early`);
    done += bytesRead;
  }
}

/**
 * Writes `tensors` to `path`: the same bytes in whatever order they come. They go to a file beside it, which takes the
 * name `path` when all of it is on the disk: a kill at any moment leaves the old file or the new one, never half of
 * one.
 *
 * @throws UserError where the disk refuses, TypeError where a tensor's data don't fit its dtype and shape
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: Metadata = {},
): Promise<void> {
  const { parts } = partsOf(tensors, metadata);
  const beside = `${path}.${randomUUID()}.partial`;
  try {
    await useSynced(beside, 'wx', async (file) => {
      for (const data of parts) await file.writeFile(asBytes(data));
    });
    await rename(beside, path);
    await useSynced(dirname(path), 'r', async () => {}); // the new name is the folder's, which must last as well
  } catch (error) {
    await rm(beside, { force: true });
    throw new UserError(`${path} cannot be written: ${messageOf(error)}`);
  }
}

/** A file in parts, one behind the other: its length, its header, and the tensors as they are sorted in it. */
export function partsOf(tensors: ReadonlyMap<string, StoredTensor>, metadata: Metadata) {
  for (const [name, tensor] of tensors) checkTensor(name, tensor);
  const { header, sorted } = layOut(tensors, metadata);
  const parts = [BigUint64Array.of(BigInt(header.length)), header, ...sorted.map(([, { data }]) => data)];
  return { sorted, parts };
}

function checkTensor(name: string, tensor: StoredTensor): void {
  const { dtype, shape, data } = tensor;
  if (name === '__metadata__') throw new TypeError(`${name} is no name for a tensor`);
  if (!(data instanceof ARRAYS[dtype]) || data.byteLength !== byteSize(tensor)) {
    throw new TypeError(`"${name}": ${data.length} elements in ${data.constructor.name} for ${dtype} [${shape}]`);
  }
}

/** Opens, uses, syncs to the disk and closes a file or a folder. */
export async function useSynced(path: string, flags: string, use: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(path, flags);
  try {
    await use(file);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A bfloat16 is the upper half of the float32 of the same value: widening appends 16 zero bits, exactly. */
export const bfloat16ToFloat32 = (bits: Uint16Array): Float32Array =>
  new Float32Array(Uint32Array.from(bits, (upper) => upper << 16).buffer);
