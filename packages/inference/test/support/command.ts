/**
 * `npx fourfold` in a process of its own, as users start it.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const FOURFOLD = fileURLToPath(new URL('../../../fourfold/bin/fourfold.mjs', import.meta.url));

/** A measurement that takes a second. */
export const SMALL_BENCH = [
  'bench',
  '--layers',
  '1',
  '--prompt-tokens',
  '8',
  '--steps',
  '3',
  '--threads',
  '1',
] as const;

export interface Running {
  readonly child: ChildProcessWithoutNullStreams;
  stdout(): string;
  stderr(): string;
  /** Resolves when stdout has the text. */
  says(text: string | RegExp): Promise<void>;
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>;
}

export function start(args: readonly string[], environment: Record<string, string> = {}): Running {
  const child = spawn(process.execPath, [FOURFOLD, ...args], { env: { ...process.env, ...environment } });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk;
  });
  const ended = once(child, 'close').then(([code]) => code as number | null);
  const says = async (text: string | RegExp): Promise<void> => {
    while (!out.match(text)) {
      if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${out}${err}`);
      await Promise.race([once(child.stdout, 'data'), ended]);
    }
  };
  return { child, ended, says, stdout: () => out, stderr: () => err };
}

/** Runs a command to its end. */
export async function run(args: readonly string[], input = '') {
  const running = start(args);
  running.child.stdin.end(input);
  const code = await running.ended;
  return { code, stdout: running.stdout(), stderr: running.stderr() };
}
