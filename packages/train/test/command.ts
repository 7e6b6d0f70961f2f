/** Runs the training command as a user does, in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../src/train.ts', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

type OnOutput = (text: string, child: ChildProcess) => void;

/** Starts it; `onOutput` sees each piece of output and the process, to signal it. */
export const command = (args: string[], onOutput?: OnOutput): Promise<Ended> =>
  node(['--import', 'tsx', script, ...args], onOutput);

/** Starts Node with a script. */
export function node(args: string[], onOutput: OnOutput = () => {}): Promise<Ended> {
  const child = spawn(process.execPath, args);
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      said[stream] += text;
      onOutput(text, child);
    });
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, ...said })));
}
