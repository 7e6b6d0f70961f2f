/**
 * The signals that come to the launcher: the first is passed on to the ranks, which then have time to write a
 * checkpoint; a second kills them.
 */
import type { Team } from './team.ts';

/** SIGINT: Ctrl-C. SIGTERM: the polite kill, and a cluster's notice of the end. SIGHUP: the terminal was closed. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Milliseconds in which a signal that comes again is the same one: Ctrl-C goes to every process of the terminal, and
 * npx, which is one of them, passes it on to us once more.
 */
const ECHO = 500;

/** What the launcher does with signals. */
export class Stop {
  /** The first that came. */
  signal: NodeJS.Signals | undefined;
  /** Whose ranks they go to. */
  team: Team | undefined;
  #since = 0;

  /** Listens for as long as the process lives: an echo of the signal must not end it while it writes its last lines. */
  constructor() {
    for (const signal of SIGNALS) process.on(signal, () => this.by(signal));
  }

  /** As if the signal had come: SIGPIPE is what other programs get when nobody reads their output any more. */
  by(signal: NodeJS.Signals): void {
    const now = performance.now();
    if (this.signal === undefined) {
      this.signal = signal;
      this.#since = now;
      this.team?.end(signal === 'SIGPIPE' ? 'SIGTERM' : signal); // Node ignores SIGPIPE, so ranks would
    } else if (now - this.#since > ECHO) {
      this.team?.kill(`did not end before a second ${signal}`);
    }
  }
}
