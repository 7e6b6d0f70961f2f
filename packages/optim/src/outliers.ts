/**
 * Outliers: steps whose loss or gradient norm is far from what it lately was, as after a broken page of text.
 *
 *     z = (x - mean) / standard deviation      of the last 128 steps, this one among them
 *
 * A step with z above the limit is not taken: its gradients are dropped. All ranks see the same sums, so they decide
 * alike. The window is a part of the run's state: a checkpoint keeps it. (llm.c's outlier_detector.h does the same.)
 */

const WINDOW = 128;

/** The last losses and gradient norms, oldest first. */
export interface Window {
  /** In nats a token. */
  readonly losses: readonly number[];
  /** Before clipping. */
  readonly norms: readonly number[];
}

/** Tells which steps are outliers. */
export class Outliers {
  readonly #limit: number;
  #window: Window;

  /** `limit`: the largest z of a step that is taken. */
  constructor(limit: number, window: Window = { losses: [], norms: [] }) {
    this.#limit = limit;
    this.#window = window;
  }

  /** The last 128 steps, for a checkpoint. */
  get window(): Window {
    return this.#window;
  }

  /** Takes a step into the window; its larger z where that is above the limit, else undefined: so for the first 128. */
  judge(loss: number, gradNorm: number): number | undefined {
    const { losses, norms } = this.#window;
    this.#window = { losses: [...losses, loss].slice(-WINDOW), norms: [...norms, gradNorm].slice(-WINDOW) };
    const z = Math.max(zOfLast(this.#window.losses), zOfLast(this.#window.norms));
    return losses.length >= WINDOW && z > this.#limit ? z : undefined;
  }
}

/** How many standard deviations the last number lies above the mean; 0 where all are equal. */
function zOfLast(numbers: readonly number[]): number {
  const mean = numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
  const deviation = Math.sqrt(numbers.reduce((sum, x) => sum + (x - mean) ** 2, 0) / numbers.length);
  return deviation > 0 ? ((numbers.at(-1) as number) - mean) / deviation : 0;
}
