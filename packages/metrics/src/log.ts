/**
 * A run's figures as JSON lines: one object a line, so that a file which is still being written can be read.
 *
 *     {"step":12,"loss":3.2145,"gradNorm":1.23,"learningRate":0.00029,"tokensPerSecond":41200,...}
 */
import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { messageOf, UserError } from '@fourfold/runtime/errors';

/** Figures by name. Values that JSON can't hold (NaN, infinities) are written as null. */
export type MetricsRecord = Readonly<Record<string, number | string | boolean | undefined>>;

/** An open file of JSON lines, one a step. */
export interface MetricsLog {
  /** Writes one line and hands it to the operating system at once: a kill loses at most the line being written. */
  write(record: MetricsRecord): void;
  /** Closes the file. */
  close(): void;
}

/**
 * Opens a file for figures, before training starts. What the file held is dropped, but for the lines of the first
 * `done` steps, which a resumed run has behind it. Throws UserError where the file can't be written.
 */
export function openMetrics(path: string, { done = 0 } = {}): MetricsLog {
  const kept = done > 0 ? linesUpTo(path, done) : [];
  const file = openFile(path);
  for (const line of kept) writeSync(file, `${line}\n`);
  return {
    write(record) {
      writeSync(file, `${JSON.stringify(record)}\n`);
    },
    close() {
      closeSync(file);
    },
  };
}

/** A file's lines of steps 1 to `done`; none where there is no file. A last line that a kill cut off is dropped. */
function linesUpTo(path: string, done: number): string[] {
  if (!existsSync(path)) return [];
  const isWanted = (line: string): boolean => {
    try {
      return (JSON.parse(line) as { step: number }).step <= done;
    } catch {
      return false;
    }
  };
  return readFileSync(path, 'utf8').split('\n').filter(isWanted);
}

function openFile(path: string): number {
  try {
    return openSync(path, 'w');
  } catch (error) {
    throw new UserError(
      `--metrics ${path} can't be written (${messageOf(error)}): name a file in a folder that is there`,
    );
  }
}
