/** Runs other programs: pip, the C++ compiler, ldconfig. */
import { spawn } from 'node:child_process';

export interface Outcome {
  /** The exit status; undefined where the program isn't installed. */
  readonly code: number | undefined;
  readonly output: string;
  readonly errors: string;
}

export interface RunOptions {
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Called with each whole line of standard output as it comes. */
  readonly onLine?: (line: string) => void;
}

/** Runs a program to its end and returns what it printed. A program that isn't there is an outcome, not an error. */
export function run(command: string, args: readonly string[], { env, onLine }: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let errors = '';
    let lines = 0; // characters of `output` already given to onLine
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      for (let end = output.indexOf('\n', lines); onLine && end >= 0; end = output.indexOf('\n', lines)) {
        onLine(output.slice(lines, end));
        lines = end + 1;
      }
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    child.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'EACCES') resolve({ code: undefined, output, errors });
      else reject(error);
    });
    child.on('close', (code, signal) => {
      if (signal) errors += `\n${command} was ended by ${signal}`;
      resolve({ code: code ?? 1, output, errors });
    });
  });
}
