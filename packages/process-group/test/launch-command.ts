/** Runs `fourfold launch` as a user does, in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../bin/launch.mjs', import.meta.url));

/** The program that the tests launch: launch-child.mjs. */
export const child = fileURLToPath(new URL('launch-child.mjs', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly process: ChildProcess;
  readonly ended: Promise<Ended>;
  /** What it has printed so far, once that matches. */
  said(pattern: RegExp): Promise<string>;
}

/** The test's own environment, without what a launcher or a GPU machine would have put into it. */
const { CUDA_VISIBLE_DEVICES: _, OMP_NUM_THREADS: __, FOURFOLD_SECRET: ___, ...environment } = process.env;

export function start(args: readonly string[], env: Record<string, string> = {}, cwd = process.cwd()): Running {
  const process_ = spawn(process.execPath, [program, ...args], { env: { ...environment, ...env }, cwd });
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    process_[stream].setEncoding('utf8').on('data', (text: string) => {
      said[stream] += text;
    });
  const ended = new Promise<Ended>((resolve) =>
    process_.once('close', (code, signal) => resolve({ code, signal, ...said })),
  );
  return {
    process: process_,
    ended,
    said: (pattern) => until(() => (pattern.test(said.stdout + said.stderr) ? said.stdout + said.stderr : undefined)),
  };
}

/** Runs it to its end. */
export const fourfold = (...args: string[]): Promise<Ended> => start(args).ended;

/** `--nproc N [flags] launch-child.mjs ACT ...` */
export const launching = (nproc: number, act: string, flags: string[] = []): string[] => [
  '--nproc',
  String(nproc),
  ...flags,
  child,
  ...act.split(' '),
];

/** Asks every 20 ms, for 30 s: on a busy machine a process takes some to start. */
export async function until<T>(ask: () => T | undefined): Promise<T> {
  for (let i = 0; i < 1500; i++) {
    const answer = ask();
    if (answer !== undefined) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('it did not come to pass within 30 s');
}

/** Whether a process is there. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
