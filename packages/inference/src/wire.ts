/**
 * Steps and logits as 32-bit words, for ranks that tell one another.
 *
 *     a row          token, slot, position, wanted: 0 nothing, -1 all                    16 bytes
 *     its logits     of k: k ids, k values, logSumExp      of all: V/n values, logSumExp
 *
 * A float32 travels as the int32 of the same bits.
 */
import type { Logits, Row } from './decoder.ts';

const ROW_WORDS = 4;

/** Rows as words, 4 each. */
export function wordsOfRows(rows: readonly Row[]): Int32Array {
  const wantedOf = ({ wanted }: Row) => (wanted === 'all' ? -1 : wanted === 'nothing' ? 0 : wanted);
  return Int32Array.from(rows.flatMap((row) => [row.token, row.slot, row.position, wantedOf(row)]));
}

/** The way back. */
export function rowsOfWords(words: Int32Array): Row[] {
  return Array.from({ length: words.length / ROW_WORDS }, (_, n) => {
    const [token, slot, position, wanted] = words.subarray(n * ROW_WORDS, (n + 1) * ROW_WORDS) as unknown as Four;
    return { token, slot, position, wanted: wanted === -1 ? 'all' : wanted === 0 ? 'nothing' : wanted };
  });
}
type Four = readonly [number, number, number, number];

/** How many logits of a row travel: all, or the k likeliest. */
export type Wanted = 'all' | number;

/** What the rows that want any logits want, in their order. */
export const wantedOf = (rows: readonly Row[]): Wanted[] =>
  rows.flatMap(({ wanted }) => (wanted === 'nothing' || wanted === 0 ? [] : [wanted]));

/** How many words a rank's parts take, whose slice of the vocabulary has so many tokens. */
export const partWords = (wanted: readonly Wanted[], slice: number): number =>
  wanted.reduce<number>((sum, each) => sum + 1 + (each === 'all' ? slice : 2 * Math.min(each, slice)), 0);

/** A rank's parts of the logits as words, row by row. */
export function wordsOfParts(parts: readonly Logits[]): Int32Array {
  return Int32Array.from(
    parts.flatMap(({ ids, values, logSumExp }) => [
      ...(ids ?? []),
      ...new Int32Array(Float32Array.from([...values, logSumExp]).buffer),
    ]),
  );
}

/** The way back, of a rank whose slice has so many tokens. */
export function partsOfWords(words: Int32Array, wanted: readonly Wanted[], slice: number): Logits[] {
  let at = 0;
  const take = (count: number): Int32Array => {
    at += count;
    return words.slice(at - count, at);
  };
  return wanted.map((each) => {
    const ids = each === 'all' ? undefined : take(Math.min(each, slice));
    const floats = new Float32Array(take((ids?.length ?? slice) + 1).buffer);
    const [values, logSumExp] = [floats.slice(0, -1), floats[floats.length - 1] as number];
    return ids ? { ids, values, logSumExp } : { values, logSumExp };
  });
}
