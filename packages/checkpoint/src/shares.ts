/**
 * Who writes what: every element that any rank holds is written by exactly one rank.
 *
 *     rank 0 holds   a[0-8]  b[0-4]           writes   a[0-8]
 *     rank 1 holds   a[0-8]  b[0-4]  c[0-6]   writes            b[0-4]  c[0-6]        the least loaded of the holders
 *
 * Data and context parallel ranks hold the same, tensor parallel ones the same norms, the first and the last stage the
 * same embedding; with ZeRO ranges may overlap in part. All of that is one case here: the ranges of each part are cut
 * wherever one of them begins or ends, and each cut goes to the rank with the least to write so far among those that
 * have it. Every rank computes this from the same lists, so they agree without a word.
 */

/** Elements `from` up to `to` of a part of a tensor, as `partName` names it. */
export interface Extent {
  readonly part: string;
  readonly from: number;
  readonly to: number;
}

/** What each rank writes, of what each rank holds. */
export function shareOut(held: readonly (readonly Extent[])[]): Extent[][] {
  const shares: Extent[][] = held.map(() => []);
  const loads = held.map(() => 0);
  const holders = new Map<string, (Extent & { rank: number })[]>();
  for (const [rank, extents] of held.entries())
    for (const extent of extents) {
      const others = holders.get(extent.part) ?? [];
      holders.set(extent.part, [...others, { ...extent, rank }]);
    }
  for (const [part, extents] of holders) {
    const cuts = [...new Set(extents.flatMap(({ from, to }) => [from, to]))].sort((a, b) => a - b);
    for (const [i, to] of cuts.entries()) {
      const from = cuts[i - 1] ?? to;
      const ranks = extents.filter((one) => one.from <= from && to <= one.to && from < to).map(({ rank }) => rank);
      if (ranks.length === 0) continue; // the first cut, or a gap that nobody holds
      const writer = ranks.reduce((least, rank) => (loadOf(rank) < loadOf(least) ? rank : least));
      shares[writer]?.push({ part, from, to });
      loads[writer] = loadOf(writer) + to - from;
    }
  }
  return shares;

  function loadOf(rank: number): number {
    return loads[rank] as number;
  }
}
