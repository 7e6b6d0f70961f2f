/**
 * What a run shows while it goes on: on a terminal, lines that scroll above a bar with the time left; in a pipe, lines.
 */
import { progressBar, type Screen } from '@fourfold/runtime/progress';

/** What a display has to know of a run. */
export interface DisplayOptions {
  /** How many steps the run has. */
  readonly steps: number;
  /** Steps that an earlier run did (default 0), where this one resumes it; they don't count for the time left. */
  readonly done?: number;
  /** Default: process.stdout. */
  readonly screen?: Screen;
}

/** Where a run's lines go. */
export interface Display {
  /** Prints a line, above the bar where there is one. */
  print(line: string): void;
  /** Moves the bar: `step` steps of the run are done, counting those of an earlier run. */
  update(step: number): void;
  /** Takes the bar away; lines can still be printed. */
  close(): void;
}

/** Opens the display as the first step begins, since the time left is reckoned from here. */
export function openDisplay({ steps, done = 0, screen = process.stdout }: DisplayOptions): Display {
  if (!screen.isTTY) {
    return { print: (line) => screen.write(`${line}\n`), update: () => undefined, close: () => undefined };
  }
  const bar = progressBar({ label: 'Training', total: steps - done, unit: 'steps', screen });
  return { print: bar.print, update: (step) => bar.update(step - done), close: bar.done };
}
