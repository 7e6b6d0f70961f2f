/**
 * What all ranks have sent, by group, beside what the four packages' formulas say: equal to the byte, or wrong.
 */
import { type Job, plannedBytesOf } from '@fourfold/plan';
import { type Recorder, rankCount } from '@fourfold/process-group';

export interface GroupBytes {
  readonly group: string;
  /** By all ranks, in all steps so far. */
  readonly sent: number;
  readonly formula: number;
  /** Whether every rank sent what the formula says of it. */
  readonly equal: boolean;
}

/** Bytes by the name of a group. */
type Bytes = Readonly<Record<string, number>>;

/** What a rank has counted in the groups of the mesh; the world's own few bytes, a step's sums, are in no formula. */
export function sentBy(recorder: Recorder): Bytes {
  const sent: Record<string, number> = {};
  for (const { group, bytes } of recorder.totals())
    if (group !== 'world' && bytes > 0) sent[group] = (sent[group] ?? 0) + bytes;
  return sent;
}

/** What each rank should send in a step. */
export const formulas = (job: Job): Promise<Bytes[]> =>
  Promise.all(Array.from({ length: rankCount(job.config) }, (_, rank) => plannedBytesOf(job, rank)));

/** Both, group by group, after so many steps. `sent` and `formula` have an entry for each rank. */
export function compared(sent: readonly Bytes[], formula: readonly Bytes[], steps: number): GroupBytes[] {
  const groups = new Set([...sent, ...formula].flatMap((one) => Object.keys(one)));
  return [...groups].map((group) => {
    const pairs = formula.map((one, rank) => [sent[rank]?.[group] ?? 0, steps * (one[group] ?? 0)] as const);
    return {
      group,
      sent: pairs.reduce((sum, [bytes]) => sum + bytes, 0),
      formula: pairs.reduce((sum, [, bytes]) => sum + bytes, 0),
      equal: pairs.every(([bytes, expected]) => bytes === expected),
    };
  });
}
