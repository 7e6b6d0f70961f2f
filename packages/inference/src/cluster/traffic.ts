/**
 * The bytes of a step of a shared model, as the root sends and receives them.
 *
 *     sums         2 a layer, of all rows                                      both ways
 *     step         5 + N·(16 + e) to each worker                               sent
 *     logits       4·(2k + 1) of each worker for a row that wants the k best   received
 *
 * N rows; e bytes of the embedding a row, for workers that have no model on their disk. A token of Llama 3 8B's shape
 * with q80 transfers, e = 2304: 530.3 kB on two ranks, all included, where distributed-llama's published table, which
 * counts the sums alone, has 544 (its blocks of 32 take 34 bytes, ours 33).
 */

import type { TransferFormat } from '@fourfold/process-group/lanes';
import { sumBytes } from '@fourfold/process-group/lanes-traffic';
import type { Row } from '../decoder.ts';
import type { ModelShape } from '../shape.ts';
import { HEADER_BYTES } from './control.ts';
import { logitBytes } from './lane-ranks.ts';
import { packetBytes } from './packet.ts';

export interface StepTraffic {
  readonly shape: ModelShape;
  readonly rows: readonly Row[];
  readonly ranks: number;
  readonly transfers: TransferFormat;
  /** Of each row, for workers that need it; 0: all have the model. */
  readonly embeddingBytes: number;
}

/** What the root sends in a step, and receives. */
export function inferenceBytes({ shape, rows, ranks, transfers, embeddingBytes }: StepTraffic) {
  const sum = sumBytes(rows.length, shape.dim, transfers, ranks);
  const workers = Array.from({ length: ranks - 1 }, (_, i) => i + 1);
  const logits = workers.reduce((all, rank) => all + logitBytes(rows, shape.vocabulary, rank, ranks), 0);
  const step = HEADER_BYTES + packetBytes(rows.length, embeddingBytes);
  return {
    sent: 2 * shape.layers * sum.sent + workers.length * step,
    received: 2 * shape.layers * sum.received + logits,
  };
}
