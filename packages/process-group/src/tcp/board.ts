/**
 * A board on which ranks leave texts for each other, and where one can wait for a text that is not there yet.
 *
 *     const address = board.get('address/1', 1)    // rank 1 is to set it: pending
 *     board.set('address/1', '10.0.0.2:41271')     // resolves it
 *     board.leave(1)                               // rejects it, had rank 1 gone before
 *
 * Nothing of the network is in here: store.ts carries it to the other processes.
 */
import { RunError } from '@fourfold/runtime/errors';

/** Somebody who waits for a text. */
interface Waiter {
  readonly key: string;
  /** The rank that is to set it, where known. */
  readonly owner: number | undefined;
  readonly resolve: (value: string) => void;
  readonly reject: (error: Error) => void;
}

/** Texts by key, who waits for which, and which ranks have left. */
export class Board {
  readonly #values = new Map<string, string>();
  readonly #waiting = new Set<Waiter>();
  readonly #gone = new Set<number>();

  /** Replaces what was there; who waits for it gets it. */
  set(key: string, value: string): void {
    this.#values.set(key, value);
    for (const waiter of this.#take((waiting) => waiting.key === key)) waiter.resolve(value);
  }

  /** The value, once it is there. Rejects when `owner` leaves first, and when the board is closed. */
  get(key: string, owner?: number): Promise<string> {
    return new Promise((resolve, reject) => {
      const value = this.#values.get(key);
      if (value !== undefined) resolve(value);
      else if (owner !== undefined && this.#gone.has(owner)) reject(leftWithout(key, owner));
      else this.#waiting.add({ key, owner, resolve, reject });
    });
  }

  /** `rank` is here, or here again. */
  come(rank: number): void {
    this.#gone.delete(rank);
  }

  /** `rank` will set nothing more; what it has set stays. */
  leave(rank: number): void {
    this.#gone.add(rank);
    for (const { key, reject } of this.#take((waiting) => waiting.owner === rank)) reject(leftWithout(key, rank));
  }

  close(): void {
    for (const { key, owner, reject } of this.#take(() => true))
      reject(new RunError(`the store was closed before ${wasSet(key, owner)}`));
  }

  /** Takes those for whom waiting is over off the list. */
  #take(isOver: (waiter: Waiter) => boolean): Waiter[] {
    const over = [...this.#waiting].filter(isOver);
    for (const waiter of over) this.#waiting.delete(waiter);
    return over;
  }
}

/** The error of who waits for a text of a rank that is gone. */
const leftWithout = (key: string, owner: number): Error =>
  new RunError(`rank ${owner} left without having set '${key}'`);

/** How errors name a value that didn't come: "'address/1' was set by rank 1". */
export const wasSet = (key: string, owner?: number, word = 'was'): string =>
  `'${key}' ${word} set${owner === undefined ? '' : ` by rank ${owner}`}`;
