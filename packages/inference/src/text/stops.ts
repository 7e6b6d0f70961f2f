/**
 * Strings at which a text ends, wherever tokens are cut.
 *
 *     stop "\n\nUser:"      comes        is let through
 *                           "Yes.\n"     "Yes."           "\n" may begin the stop
 *                           "\nUse"      ""
 *                           "d to"       "\n\nUsed to"    it didn't
 *
 * The text ends before the stop that is complete first, so the result is the same however the text came in pieces.
 */
export class Stops {
  readonly #stops: readonly string[];
  #held = '';
  /** Whether a stop has come: from then on nothing is let through. */
  stopped = false;

  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop !== '');
  }

  /** What of the text so far can be shown and wasn't yet. */
  push(text: string): string {
    if (this.stopped) return '';
    this.#held += text;
    const at = this.#firstStop();
    this.stopped = at !== undefined;
    return this.#letThrough(at ?? this.#held.length - this.#mayBegin());
  }

  /** What was held back, when no text comes any more. */
  end(): string {
    return this.stopped ? '' : this.#letThrough(this.#held.length);
  }

  #letThrough(length: number): string {
    const text = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return text;
  }

  /** Where the stop begins whose last character comes first; of two that end together, the longer. */
  #firstStop(): number | undefined {
    const found = this.#stops.flatMap((stop) => {
      const begin = this.#held.indexOf(stop);
      return begin < 0 ? [] : [{ begin, end: begin + stop.length }];
    });
    return found.sort((a, b) => a.end - b.end || a.begin - b.begin)[0]?.begin;
  }

  /** How many characters at the end may be the beginning of a stop. */
  #mayBegin(): number {
    const longest = (stop: string): number => {
      let length = Math.min(stop.length - 1, this.#held.length);
      while (length > 0 && !this.#held.endsWith(stop.slice(0, length))) length--;
      return length;
    };
    return Math.max(0, ...this.#stops.map(longest));
  }
}
