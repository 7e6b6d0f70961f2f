/**
 * Pieces of the model's tensors: what one rank holds, and what one file keeps.
 *
 *     a tensor [4, 6]              tensor parallel: half 1 of 2 along axis 1      ZeRO: elements 2 to 9 of that half
 *      0  1  2 |  3  4  5                      3  4  5                                       .  .  5
 *      6  7  8 |  9 10 11                      9 10 11                                       9 10 11
 *     12 13 14 | 15 16 17                     15 16 17                                      15 16 17
 *     18 19 20 | 21 22 23                     21 22 23                                       .  .  .
 *
 * Every layout's state is made of such pieces, and any two pieces can say which elements they have in common. So a
 * checkpoint of one layout is read by another: each rank takes from each file what overlaps with its own.
 */
import type { Shard } from '@fourfold/ops';
import { sizeOf } from './header.ts';

export interface Piece {
  /** Hugging Face's name of the tensor. */
  readonly name: string;
  /** Of the whole tensor. */
  readonly fullShape: readonly number[];
  /** Which part of it; undefined: all. */
  readonly shard: Shard | undefined;
  /** The elements of that part, in row-major order. */
  readonly from: number;
  readonly to: number;
}

/** So many elements that two pieces share, from these places on, counted in each one's part of the tensor. */
export interface Overlap {
  readonly source: number;
  readonly target: number;
  readonly length: number;
}

/** A part along one axis is columns of a table: of every `full` elements those from `left` on, `width` of them. */
function columnsOf({ fullShape, shard }: Piece) {
  const full = sizeOf(fullShape.slice(shard?.axis ?? 0));
  const width = full / (shard?.of ?? 1);
  return { full, width, left: width * (shard?.index ?? 0) };
}

/** How many elements a part of a tensor has. */
export const partSize = ({ fullShape, shard }: Pick<Piece, 'fullShape' | 'shard'>): number =>
  sizeOf(fullShape) / (shard?.of ?? 1);

/** What two pieces of one tensor have in common: stretches that lie without gaps in both, in ascending order. */
export function* overlaps(source: Piece, target: Piece): Generator<Overlap> {
  const { full, width, left } = columnsOf(target);
  for (let at = target.from; at < target.to; ) {
    const row = Math.floor(at / width);
    const end = Math.min(target.to, (row + 1) * width);
    const first = row * full + left + (at % width); // in the whole tensor
    for (const { from, whole, length } of within(source, first, first + end - at))
      yield { source: from, target: at + whole - first, length };
    at = end;
  }
}

/** The elements of a piece among those from `first` up to `last` of the whole tensor. */
function* within(piece: Piece, first: number, last: number) {
  const { full, width, left } = columnsOf(piece);
  for (let row = Math.floor(first / full); row * full < last; row++) {
    const [begin, end] = [Math.max(first, row * full + left), Math.min(last, row * full + left + width)];
    const start = row * width + begin - row * full - left; // in the piece's part
    const [from, to] = [Math.max(start, piece.from), Math.min(start + end - begin, piece.to)];
    if (from < to) yield { from, whole: begin + from - start, length: to - from };
  }
}

// ## Names
//
// In a file a piece of a state goes by what it is: "m model.norm.weight 0:1/2 16-32" are elements 16 to 32 of half 1
// along axis 0 of the norm's running mean; "m model.norm.weight all 0-64" of all of it.

export interface PieceName extends Pick<Piece, 'name' | 'shard' | 'from' | 'to'> {
  /** weight, master, m or v. */
  readonly kind: string;
}

/** Which part of which tensor: what the pieces of several ranks are compared by. */
export const partName = ({ name, shard }: Pick<Piece, 'name' | 'shard'>): string =>
  `${name} ${shard ? `${shard.axis}:${shard.index}/${shard.of}` : 'all'}`;

export const pieceName = ({ kind, from, to, ...part }: PieceName): string => `${kind} ${partName(part)} ${from}-${to}`;

/** The way back; undefined where a text is no such name. */
export function parsePieceName(text: string): PieceName | undefined {
  const match = /^(\w+) (\S+) (?:all|(\d{1,9}):(\d{1,9})\/(\d{1,9})) (\d{1,15})-(\d{1,15})$/.exec(text);
  if (!match) return undefined;
  const [, kind, name, axis, index, of, from, to] = match;
  const shard = axis === undefined ? undefined : { axis: Number(axis), index: Number(index), of: Number(of) };
  return { kind: kind as string, name: name as string, shard, from: Number(from), to: Number(to) };
}

/** Whether a piece lies inside the tensor that it is said to be of. */
export function isInside({ fullShape, shard, from, to }: Piece): boolean {
  if (shard) {
    const { axis, index, of } = shard;
    if (axis >= fullShape.length || index >= of || (fullShape[axis] as number) % of !== 0) return false;
  }
  return from < to && to <= partSize({ fullShape, shard });
}
