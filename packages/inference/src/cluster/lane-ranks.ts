/**
 * Ranks that are processes, as a rank's model sees them: sums, and parts of logits, over lanes.
 *
 * Lanes are synchronous, for a token waits for each sum; the model's interface is one of promises, which these keep at
 * once.
 */
import type { Lanes } from '@fourfold/process-group/lanes';
import * as tf from '@tensorflow/tfjs-core';
import type { Logits, Row } from '../decoder.ts';
import { mergeRows } from '../merge.ts';
import type { Ranks } from '../ranks.ts';
import { evenPart } from '../slices.ts';
import { lengthOf } from '../stored.ts';
import { partsOfWords, partWords, wantedOf, wordsOfParts } from '../wire.ts';

/** The ranks at the other ends of lanes. */
export const lanesAsRanks = (lanes: Lanes): Ranks => ({
  rank: lanes.rank,
  size: lanes.size,
  async sum(part_ND, onto_ND) {
    if (onto_ND) return lanes.sum(part_ND, onto_ND);
    const zeros_ND = tf.zerosLike(part_ND);
    const sum_ND = lanes.sum(part_ND, zeros_ND);
    zeros_ND.dispose();
    return sum_ND;
  },
  within: (run) => lanes.within(run),
});

/** The bytes that rank `rank` of `ranks` sends of a step's logits. */
export const logitBytes = (rows: readonly Row[], vocabulary: number, rank: number, ranks: number): number =>
  4 * partWords(wantedOf(rows), lengthOf(evenPart(vocabulary, rank, ranks)));

/** Sends a rank's part of the logits to rank 0; there, all ranks' of each row that wants some. */
export function gatherLogits(lanes: Lanes, vocabulary: number, rows: readonly Row[], own: readonly Logits[]): Logits[] {
  const wanted = wantedOf(rows);
  if (wanted.length === 0) return [];
  const ranks = [...Array(lanes.size).keys()];
  const lengths = ranks.map((rank) => logitBytes(rows, vocabulary, rank, lanes.size));
  const gathered = lanes.gather(new Uint8Array(wordsOfParts(own).buffer), lengths);
  const parts = gathered.map((bytes, rank) =>
    partsOfWords(new Int32Array(bytes.buffer), wanted, lengthOf(evenPart(vocabulary, rank, lanes.size))),
  );
  if (parts.length === 0) return [];
  return mergeRows(parts, wanted);
}
