/**
 * Reads a state of any layout: a rank takes from every file what overlaps with its own pieces, and no more.
 *
 *     saved by tp2         loaded by tp3
 *     rank 0  [ 0 1 2 ]    rank 0  [ 0 1 ]      rank 0's first two
 *     rank 1  [ 3 4 5 ]    rank 1  [ 2 3 ]      rank 0's last and rank 1's first
 *                          rank 2  [ 4 5 ]      rank 1's last two
 *
 * Where only some columns of a matrix are wanted, stretches with less than 64 KiB between them are read as one: the
 * disk reads that much anyway.
 */
import { join } from 'node:path';
import { type Parameter, rangesOf } from '@fourfold/ops';
import { BYTES, type DType, UserError } from '@fourfold/runtime';
import { blank } from '@fourfold/runtime/bytes';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Found } from './find.ts';
import { asBytes, sizeOf } from './header.ts';
import type { Manifest } from './manifest.ts';
import { isInside, type Overlap, overlaps, type Piece, type PieceName, parsePieceName } from './pieces.ts';
import { openSafetensors, type SafetensorsFile } from './safetensors.ts';
import { STORED } from './save.ts';

/** Bytes between two stretches that are read as one, and the most that one read takes. */
const GAP = 2 ** 16;
const MOST = 2 ** 26;

/** A piece in a file. */
interface Stored extends PieceName {
  readonly file: SafetensorsFile;
  readonly tensor: string;
}

/** An open checkpoint, of whatever layout, as one rank reads it. */
export interface Checkpoint {
  /** What it says of itself. */
  readonly manifest: Manifest;
  /**
   * One kind of a parameter's state, as this rank holds it: 'weight', 'master', 'm' or 'v'. A new tensor.
   *
   * @throws UserError where the checkpoint lacks some of it, or keeps it in another dtype
   */
  tensor(kind: string, parameter: Parameter, dtype: DType): Promise<Tensor>;
  /** Closes its files. */
  close(): Promise<void>;
}

/** Opens all files of a checkpoint that was found sound. Throws UserError where a file's tensors are not of a run. */
export async function openCheckpoint({ path, manifest }: Found): Promise<Checkpoint> {
  const files: SafetensorsFile[] = [];
  const stored = new Map<string, Stored[]>();
  for (const { name } of manifest.files) {
    const file = await openSafetensors(join(path, name));
    files.push(file);
    for (const tensor of file.names) {
      const piece = parsePieceName(tensor);
      if (!piece) throw new UserError(`${join(path, name)} has a tensor "${tensor}", which names no part of a state`);
      const key = `${piece.kind} ${piece.name}`;
      stored.set(key, [...(stored.get(key) ?? []), { ...piece, file, tensor }]);
    }
  }
  return {
    manifest,
    async tensor(kind, parameter, dtype) {
      const target = blank(parameter.shape, dtype);
      target.view.fill(0); // ZeRO's padding is in no file
      for (const { of, from, to, at } of rangesOf(parameter)) {
        const { name, fullShape, shard } = of;
        const bytes = target.view.subarray(at * BYTES[dtype], (at + to - from) * BYTES[dtype]);
        const wanted = { name, fullShape, shard, from, to };
        const filled = await fill(bytes, stored.get(`${kind} ${name}`) ?? [], wanted, dtype);
        if (filled < to - from)
          throw new UserError(`${path} has ${filled} of ${to - from} elements that this rank needs of ${kind} ${name}`);
      }
      return target.finish();
    },
    close: async () => {
      for (const file of files) await file.close();
    },
  };
}

/** Fills the memory of a piece with what files have of it, and returns how many elements that were. */
async function fill(bytes: Uint8Array, stored: readonly Stored[], wanted: Piece, dtype: DType): Promise<number> {
  let filled = 0;
  for (const source of stored) {
    const piece = { ...source, fullShape: wanted.fullShape };
    const info = source.file.info(source.tensor);
    if (!isInside(piece) || sizeOf(info.shape) !== piece.to - piece.from)
      throw new UserError(`"${source.tensor}" of a checkpoint does not fit [${wanted.fullShape}], the model's shape`);
    if (info.dtype !== STORED[dtype])
      throw new UserError(`"${source.tensor}" of a checkpoint is ${info.dtype}, and ${STORED[dtype]} is wanted`);
    for (const batch of batches(overlaps(piece, wanted), BYTES[dtype]))
      filled += await copy(bytes, batch, source, wanted.from, BYTES[dtype]);
  }
  return filled;
}

/** Stretches in the groups that are read at once. */
function* batches(stretches: Iterable<Overlap>, width: number): Generator<[Overlap, ...Overlap[]]> {
  let batch: [Overlap, ...Overlap[]] | undefined;
  for (const stretch of stretches) {
    const [first, last] = [batch?.[0], batch?.at(-1)];
    const gap = last ? (stretch.source - last.source - last.length) * width : 0;
    const span = first ? (stretch.source + stretch.length - first.source) * width : 0;
    if (batch && gap <= GAP && span <= MOST) batch.push(stretch);
    else {
      if (batch) yield batch;
      batch = [stretch];
    }
  }
  if (batch) yield batch;
}

/** Reads a batch and copies its stretches to where they belong. */
async function copy(
  bytes: Uint8Array,
  batch: readonly [Overlap, ...Overlap[]],
  { file, tensor, from }: Stored,
  start: number,
  width: number,
): Promise<number> {
  const [first, last] = [batch[0], batch.at(-1) as Overlap];
  const read = asBytes(await file.read(tensor, first.source - from, last.source + last.length - from));
  for (const { source, target, length } of batch) {
    const at = (source - first.source) * width;
    bytes.set(read.subarray(at, at + length * width), (target - start) * width);
  }
  return batch.reduce((sum, { length }) => sum + length, 0);
}
