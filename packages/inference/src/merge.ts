/**
 * The logits of a token out of the parts that ranks have, each of a slice of the vocabulary.
 *
 *     all     the slices one behind the other
 *     best    the best of the ranks' best: what is among the k best of all is among the k best of its slice
 *
 *     log Σ exp(l) = m + log Σᵣ exp(logSumExpᵣ - m)      m the largest of them
 */
import type { Logits } from './decoder.ts';
import type { Wanted } from './wire.ts';

/** One row's logits from every rank's part, in rank order; `wanted` as the row has it. */
export function mergeLogits(parts: readonly Logits[], wanted: Wanted): Logits {
  const most = Math.max(...parts.map(({ logSumExp }) => logSumExp));
  const sum = parts.reduce((total, { logSumExp }) => total + Math.exp(logSumExp - most), 0);
  const logSumExp = parts.length === 1 ? most : most + Math.log(sum);
  if (wanted === 'all') return { values: joined(parts), logSumExp };
  const candidates = parts.flatMap(({ ids = [], values }) =>
    Array.from(values, (value, i) => ({ id: ids[i] as number, value })),
  );
  const best = candidates.sort((a, b) => b.value - a.value || a.id - b.id).slice(0, wanted);
  return {
    ids: Int32Array.from(best, ({ id }) => id),
    values: Float32Array.from(best, ({ value }) => value),
    logSumExp,
  };
}

/** The same for each row that wants some, in order, of what every rank has of all of them. */
export const mergeRows = (parts: readonly (readonly Logits[])[], wanted: readonly Wanted[]): Logits[] =>
  wanted.map((each, row) => {
    const own = parts.map((part) => part[row] as Logits);
    return mergeLogits(own, each);
  });

function joined(parts: readonly Logits[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { values }) => sum + values.length, 0));
  let at = 0;
  for (const { values } of parts) {
    all.set(values, at);
    at += values.length;
  }
  return all;
}
