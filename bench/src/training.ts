/**
 * A training run as one turn of a benchmark: the public command in a process of its own, on the CPU, with nothing but
 * steps in it. What each step was is read from the command's --metrics file.
 *
 *     await trained({ model: 'nano', steps: 20, dp: 2 })      [{ step: 1, loss: 5.556, milliseconds: 121 }, ...]
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '@fourfold/runtime';

/** Settings of the command, as in `npm start -- --help`. */
export type Flags = Readonly<Record<string, string | number | boolean>>;

export interface Step {
  readonly step: number;
  /** Nats a token. */
  readonly loss: number;
  readonly milliseconds: number;
}

const script = fileURLToPath(new URL('../../packages/train/src/train.ts', import.meta.url));
const quiet: Flags = { device: 'cpu', evalEvery: 0, evalSequences: 1, sampleTokens: 0 };

/** Trains, and returns the steps. Throws UserError with the command's sentence where it refuses the flags. */
export async function trained(flags: Flags): Promise<Step[]> {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-training-'));
  const metrics = join(folder, 'steps.jsonl');
  try {
    await command({ ...quiet, ...flags, metrics });
    const lines = readFileSync(metrics, 'utf8').trimEnd().split('\n');
    const records = lines.map((line) => JSON.parse(line) as Partial<Step>);
    return records.filter((record): record is Step => record.loss !== undefined); // the rest are validations
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function command(flags: Flags): Promise<void> {
  const args = Object.entries(flags).flatMap(([key, value]) => [`--${key}`, String(value)]);
  const child = spawn(process.execPath, ['--import', 'tsx', script, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  const errors: string[] = [];
  child.stderr.setEncoding('utf8').on('data', (text: string) => errors.push(text));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      const said = errors.join('').trim();
      if (code === 0) resolve();
      else reject(code === 2 ? new UserError(said) : new Error(`training failed (${code}): ${said.slice(-2000)}`));
    });
  });
}

// ## What is said of it

export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

/** A row of a table: its first cell to the left of its column, the others to the right. Widths are in characters. */
export const tableRow = (cells: readonly string[], widths: readonly number[]): string =>
  cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ');
