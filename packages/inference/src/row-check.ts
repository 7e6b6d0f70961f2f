/**
 * Rows before any kernel sees them: a kernel writes to the cache where a row says, and reads all that stands before.
 *
 *     slot 0 holds 5 positions     a row at 5 goes on; one at 2 writes over it, and 3 are held then; at 6 it is refused
 *
 * Rows come from whoever serves requests, and at a worker from a socket. So the root checks what it is asked for, and
 * each worker what it is told.
 */
import { UserError } from '@fourfold/runtime/errors';
import type { Decoder, Row } from './decoder.ts';

export type Limits = Pick<Decoder, 'vocabulary' | 'slots' | 'maxSeqLength' | 'maxRows'>;

/** Checks steps and copies one after the other, and remembers how many positions each slot holds. */
export class RowCheck {
  readonly #limits: Limits;
  #held: number[] = [];

  constructor({ vocabulary, slots, maxSeqLength, maxRows }: Limits) {
    this.#limits = { vocabulary, slots, maxSeqLength, maxRows };
    this.forget();
  }

  /** Takes the rows of a step. Throws UserError where one can't be computed; then none is taken. */
  step(rows: readonly Row[]): void {
    checkRows(rows, this.#limits);
    const held = [...this.#held];
    for (const { slot, position } of rows) {
      if (position > (held[slot] as number))
        throw new UserError(`position ${position} of slot ${slot} is not due: the slot holds ${held[slot]}`);
      held[slot] = position + 1;
    }
    this.#held = held;
  }

  /** Takes a copy of a slot's first positions to another. Throws UserError where it doesn't hold so many. */
  copy(from: number, to: number, length: number): void {
    const { slots, maxSeqLength } = this.#limits;
    if (!isBelow(slots, from) || !isBelow(slots, to) || !isBelow(maxSeqLength + 1, length))
      throw new UserError(
        `${length} positions of slot ${from} to slot ${to}: there are ${slots} slots of ${maxSeqLength} positions`,
      );
    if (length > (this.#held[from] as number))
      throw new UserError(`${length} positions of slot ${from} to slot ${to}: slot ${from} holds ${this.#held[from]}`);
    this.#held[to] = length;
  }

  /** After a step that failed: what the slots hold is unknown. */
  forget(): void {
    this.#held = Array.from({ length: this.#limits.slots }, () => 0);
  }
}

/** Throws UserError where a row is none of this decoder's: by its number of rows, its token, slot or position. */
export function checkRows(rows: readonly Row[], { vocabulary, slots, maxSeqLength, maxRows }: Limits): void {
  if (rows.length < 1 || rows.length > maxRows)
    throw new UserError(`a step has 1 to ${maxRows} rows, and this one has ${rows.length}`);
  for (const { token, slot, position, wanted } of rows) {
    if (!isBelow(vocabulary, token) || !isBelow(slots, slot) || !isBelow(maxSeqLength, position))
      throw new UserError(
        `token ${token} of slot ${slot} at position ${position}: there are ${vocabulary} tokens, ${slots} slots and ` +
          `${maxSeqLength} positions`,
      );
    if (typeof wanted === 'number' && !isBelow(2 ** 31, wanted))
      throw new UserError(`wanted=${wanted} logits: it takes a whole number, "all" or "nothing"`);
  }
}

const isBelow = (most: number, value: number): boolean => Number.isInteger(value) && value >= 0 && value < most;
