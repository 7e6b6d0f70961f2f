/**
 * A world of ranks inside one process: who runs, who waits for whom, and what happened to each.
 *
 * Ranks are coroutines. Only one runs at a time, until it awaits something, so nothing here needs a lock; and since the
 * order in which they run depends on nothing outside, a run is the same every time.
 *
 * Deadlock. A rank that waits in a collective goes on when others have called it too. When every rank that has not
 * ended waits so, nobody is left to call anything: the run would stand still for ever. In one process that can be seen,
 * and is told at once: which rank waits in which call. A rank that lets one of its own coroutines wait in a collective
 * while another sleeps or reads a file counts as waiting, too: such ranks belong in processes.
 */
import type { Call } from '../calls.ts';

/**
 * Who of the ranks still runs and which calls are open. When every rank that runs waits in a call, that is a deadlock.
 */
export class LocalWorld {
  readonly size: number;
  /** What stopped the run. */
  failure: Error | undefined;
  readonly #running: Set<number>;
  readonly #open: Map<Call, { rank: number; reject: (error: Error) => void }> = new Map();
  /** Counts calls and endings: while it stands still, nobody has moved. */
  #moves = 0;

  constructor(size: number) {
    this.size = size;
    this.#running = new Set(Array.from({ length: size }, (_, rank) => rank));
  }

  /** Runs a rank's function. When it throws, its peers' collectives fail with its words. */
  async run<R>(rank: number, body: () => Promise<R>): Promise<R> {
    try {
      return await body();
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)), `rank ${rank} failed: `);
      throw error;
    } finally {
      this.#running.delete(rank);
      this.#moved();
    }
  }

  /** Notes that `rank` is in a call until `settled` has come to an end. */
  enter<T>(rank: number, call: Call, start: (resolve: (value: T) => void, reject: (error: Error) => void) => void) {
    if (this.failure) return Promise.reject<T>(new Error(`${call.text}: the run has failed: ${this.failure.message}`));
    const settled = new Promise<T>((resolve, reject) => {
      this.#open.set(call, { rank, reject });
      start(resolve, reject);
    });
    return settled.finally(() => {
      this.#open.delete(call);
      this.#moved();
    });
  }

  /** Ends the run: every open call is rejected. `prefix` is what peers are told before the error's own words. */
  fail(error: Error, prefix = ''): void {
    if (this.failure) return;
    this.failure = error;
    for (const { reject } of this.#open.values())
      reject(prefix ? new Error(prefix + error.message, { cause: error }) : error);
  }

  /** Somebody waits, or has ended: is anybody left who can go on? */
  #moved(): void {
    this.#moves += 1;
    this.lookForDeadlock();
  }

  /**
   * If all wait, looks once more after everything that is due has run (a rank that waits for a tensor's values goes on
   * before that); if nobody has moved by then, nobody will.
   */
  lookForDeadlock(): void {
    if (!this.#allWait()) return;
    const moves = this.#moves;
    setTimeout(() => {
      if (moves === this.#moves && this.#allWait()) this.fail(new Error(this.#deadlock()));
    }, 0);
  }

  #allWait(): boolean {
    const waiting = new Set([...this.#open].filter(([call]) => call.isWaitedFor).map(([, { rank }]) => rank));
    return this.#running.size > 0 && [...this.#running].every((rank) => waiting.has(rank));
  }

  /** 'deadlock: rank 0 waits in barrier (group world), rank 1 has ended' */
  #deadlock(): string {
    const words = Array.from({ length: this.size }, (_, rank) => {
      const calls = [...this.#open].filter(([call, open]) => open.rank === rank && call.isWaitedFor);
      const places = calls.map(([call]) => `${call.text} (group ${call.group})`);
      return places.length > 0 ? `rank ${rank} waits in ${places.join(' and ')}` : `rank ${rank} has ended`;
    });
    return `deadlock: ${words.join(', ')}`;
  }
}
