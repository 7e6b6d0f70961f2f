/** How a figure's time goes on while it plays, and how work that takes a moment keeps up with a hand on a slider. */

export interface Pace {
  /** Where it ends. */
  readonly length: number;
  /** What a press of an arrow key goes. */
  readonly step: number;
  /** In a second. */
  readonly speed: number;
  /** Whether it flows, or goes step by step: for steps that have no middle, and for who asked for less motion. */
  readonly smooth: boolean;
}

/** Where playing is, so many milliseconds after it began at `from`. */
export function playedTo(from: number, milliseconds: number, { length, step, speed, smooth }: Pace): number {
  const way = (milliseconds * speed) / 1000;
  return Math.min(length, from + (smooth ? way : step * Math.floor(way / step)));
}

/**
 * A function that asks for `compute` of what it is given, one at a time. While one runs only the last ask is kept: who
 * drags a slider over ten values waits for two of them.
 */
export function latest<A, R>(
  compute: (asked: A) => Promise<R>,
  done: (result: R) => void,
  failed: (error: unknown) => void,
): (asked: A) => Promise<void> {
  let running = false;
  let next: { readonly asked: A } | undefined;
  return async (asked) => {
    next = { asked };
    if (running) return;
    running = true;
    while (next) {
      const { asked: now }: { readonly asked: A } = next;
      next = undefined;
      try {
        const result = await compute(now);
        if (!next) done(result);
      } catch (error) {
        failed(error);
      }
    }
    running = false;
  };
}
