/**
 * The rows of a step: first one for each answer that goes on, then what fits of the prompts.
 *
 *     maxRows = 8     answer A: position 17             1 row, wants logits
 *                     answer B: position 5              1 row, wants logits
 *                     prompt C: positions 0 to 5        6 rows; wants none yet
 *
 * Only the last token of a prompt wants logits: what follows the others is known. A prompt that came first is computed
 * first, and a prompt whose beginning is cached begins after it.
 */
import type { Row } from '../decoder.ts';
import { type Sampling, wantedFor } from '../sampler.ts';

/** A sequence on its way: `tokens` is all of it so far, and the first `cached` of them have been computed. */
export interface Pending {
  readonly slot: number;
  readonly tokens: readonly number[];
  readonly cached: number;
  readonly sampling: Sampling;
}

/** At most `maxRows` rows, which is no fewer than there are sequences. */
export function planRows(sequences: readonly Pending[], maxRows: number): Row[] {
  const left = (sequence: Pending): number => sequence.tokens.length - sequence.cached;
  const short = sequences.filter((sequence) => left(sequence) === 1);
  const long = sequences.filter((sequence) => left(sequence) > 1);
  const rows: Row[] = [];
  for (const sequence of [...short, ...long]) {
    const count = Math.min(left(sequence), maxRows - rows.length);
    for (let i = 0; i < count; i++) rows.push(rowAt(sequence, sequence.cached + i));
  }
  return rows;
}

function rowAt({ slot, tokens, sampling }: Pending, position: number): Row {
  const isLast = position === tokens.length - 1;
  return { token: tokens[position] as number, slot, position, wanted: isLast ? wantedFor(sampling) : 'nothing' };
}
