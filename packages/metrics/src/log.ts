/**
 * A run's figures as JSON lines: one object a line, so that a file which is still being written can be read.
 *
 *     {"step":12,"loss":3.2145,"gradNorm":1.23,"learningRate":0.00029,"tokensPerSecond":41200,...}
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { messageOf, UserError } from '@fourfold/runtime/errors';

/** Figures by name. Values that JSON can't hold (NaN, infinities) are written as null. */
export type MetricsRecord = Readonly<Record<string, number | string | boolean | undefined>>;

export interface MetricsLog {
  /** Writes one line and hands it to the operating system at once: a kill loses at most the line being written. */
  write(record: MetricsRecord): void;
  close(): void;
}

/**
 * Opens a file for figures, before training starts. What the file held is dropped, or with `append`, as a resumed run
 * wants it, kept. Throws UserError where the file can't be written.
 */
export function openMetrics(path: string, { append = false } = {}): MetricsLog {
  const file = openFile(path, append ? 'a' : 'w');
  return {
    write(record) {
      writeSync(file, `${JSON.stringify(record)}\n`);
    },
    close() {
      closeSync(file);
    },
  };
}

function openFile(path: string, mode: 'a' | 'w'): number {
  try {
    return openSync(path, mode);
  } catch (error) {
    throw new UserError(
      `--metrics ${path} can't be written (${messageOf(error)}): name a file in a folder that is there`,
    );
  }
}
