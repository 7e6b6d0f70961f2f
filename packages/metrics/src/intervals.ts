/**
 * Arithmetic of stretches of time: where any of some stretches is, and where none is.
 *
 *     a    [------]   [----]        union(a)                [--------] [----]
 *             [-----]               lengthOf(union(a))      how long any of them went on
 *     b          [------]           without(union(a), b)    [-----]      [--]
 *
 * A GPU does several things at once, so their lengths don't add up to the time that they took together.
 */

/** From `start` up to `end`; empty where they are equal. */
export interface Interval {
  /** The first moment of it. */
  readonly start: number;
  /** The first moment after it. */
  readonly end: number;
}

/** The same places in as few intervals as can be, in order. Those with at most `gap` between them become one. */
export function union(intervals: readonly Interval[], gap = 0): Interval[] {
  const all: { start: number; end: number }[] = [];
  const some = intervals.filter(({ start, end }) => end > start);
  for (const { start, end } of some.sort((a, b) => a.start - b.start)) {
    const last = all.at(-1);
    if (last && start <= last.end + gap) last.end = Math.max(last.end, end);
    else all.push({ start, end });
  }
  return all;
}

/** What of `some` is in none of `others`. Both are in order and apart, as `union` makes them, and so is the result. */
export function without(some: readonly Interval[], others: readonly Interval[]): Interval[] {
  const left: Interval[] = [];
  let next = 0; // of the others: those before end before what is still to be looked at
  for (const { start, end } of some) {
    let from = start;
    while ((others[next]?.end ?? end) < from) next += 1;
    for (let i = next; from < end; i++) {
      const other = others[i];
      const to = Math.min(end, other?.start ?? end);
      if (to > from) left.push({ start: from, end: to });
      from = Math.max(from, to, other?.end ?? end);
    }
  }
  return left;
}

/** From the first one's start to the last one's end; from 0 to 0 where there are none. */
export function extent(intervals: readonly Interval[]): Interval {
  const first = intervals.reduce((least, { start }) => Math.min(least, start), intervals[0]?.start ?? 0);
  return { start: first, end: intervals.reduce((most, { end }) => Math.max(most, end), first) };
}

/** How long they are together; they are to be apart. */
export const lengthOf = (intervals: readonly Interval[]): number =>
  intervals.reduce((sum, { start, end }) => sum + end - start, 0);
