/**
 * One rank as the launcher sees it: a process that is started, prints, is sent signals, and ends.
 *
 * Each rank leads a process group of its own. So Ctrl-C in the terminal reaches the launcher alone, which passes it on
 * once; and a rank can be killed together with the processes that it has started.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { Lines } from './lines.ts';
import type { Output } from './output.ts';
import { placeIn } from './rank.ts';

/** How much of stderr is kept, to be said again when the rank has failed. */
const LAST_WORDS = 10; // lines

/** What to start, and as whom. */
export interface RankPlan {
  readonly rank: number;
  /** What follows `node` on the command line. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** How a rank's process ended: by an exit code or by a signal. */
export interface Ending {
  readonly rank: number;
  readonly place: string | undefined;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The signals that the launcher had sent it. */
  readonly sent: ReadonlySet<NodeJS.Signals>;
  readonly lastWords: readonly string[];
}

/** A running rank: what it prints goes to the output, what it tells of itself is kept, and its end is promised. */
export class RankProcess {
  readonly rank: number;
  /** Settles when the process is gone. Some of its output may still be on the way. */
  readonly ended: Promise<Ending>;
  /** Settles when all its output is printed too. */
  readonly printed: Promise<unknown>;
  readonly #child: ChildProcess;
  readonly #output: Output;
  readonly #sent = new Set<NodeJS.Signals>();
  readonly #lastWords: string[] = [];
  #place: string | undefined;
  #isRunning = true;

  /** Starts it. Its stdin is empty: several ranks can't share a terminal's. */
  constructor({ rank, command, env }: RankPlan, output: Output) {
    this.rank = rank;
    this.#output = output;
    this.#child = spawn(process.execPath, command, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    this.#child.on('message', (message) => this.#listen(message));
    this.ended = this.#end();
    this.printed = Promise.all([this.#print('stdout'), this.#print('stderr')]);
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** Sends the rank a signal, if it still runs. SIGKILL goes to the processes that it has started too. */
  send(signal: NodeJS.Signals): void {
    if (!this.#isRunning) return;
    this.#sent.add(signal);
    if (signal === 'SIGKILL') this.#killGroup();
    else this.#child.kill(signal);
  }

  #listen(message: unknown): void {
    const place = placeIn(message);
    if (place === undefined) return;
    this.#place = place;
    this.#output.name(this.rank, place);
  }

  #end(): Promise<Ending> {
    return new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null): void => {
        this.#isRunning = false;
        this.#killGroup(); // what it left behind could hold its output open for ever
        resolve({
          rank: this.rank,
          place: this.#place,
          code,
          signal,
          sent: this.#sent,
          lastWords: this.#lastWords, // still filling, from the output on its way
        });
      };
      this.#child.once('exit', end);
      this.#child.on('error', (error) => {
        if (this.#child.pid !== undefined) return; // an error of the channel, which the process's end explains
        this.#lastWords.push(error.message);
        end(1, null); // it could not be started: too many processes or open files
      });
    });
  }

  /** Takes the next chunk only when the last is printed, so that a rank writes no faster than the reader reads. */
  async #print(stream: 'stdout' | 'stderr'): Promise<void> {
    const lines = new Lines();
    for await (const chunk of this.#child[stream] ?? []) await this.#show(stream, lines.add(chunk));
    await this.#show(stream, lines.end());
  }

  #show(stream: 'stdout' | 'stderr', lines: readonly string[]): Promise<void> {
    if (stream === 'stderr') {
      this.#lastWords.push(...lines.filter(isTelling));
      this.#lastWords.splice(0, this.#lastWords.length - LAST_WORDS);
    }
    return this.#output.print(this.rank, stream, lines);
  }

  /** A negative number names a process group, by its leader's. */
  #killGroup(): void {
    if (this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, 'SIGKILL');
    } catch {
      // Nobody was left.
    }
  }
}

/**
 * Whether a line belongs to the last words. After an uncaught error Node prints ten lines of where it happened and its
 * own version, which alone would be the last ten.
 */
const isTelling = (line: string): boolean => !/^\s*$|^\s+at |^Node\.js v/.test(line);

/** The exit code that says as much as a shell would: that of the process, or 128 + n for signal n. */
export const exitCodeOf = ({ code, signal }: Pick<Ending, 'code' | 'signal'>): number =>
  signal === null ? (code ?? 1) : 128 + constants.signals[signal];

/** 'rank 2 [dp1 tp0] exited with code 3', and its last words below. */
export function describeEnding({ rank, place, code, signal, lastWords }: Ending): string {
  const who = place === undefined ? `rank ${rank}` : `rank ${rank} [${place}]`;
  const what = signal === null ? `exited with code ${code}` : `was killed by ${signal}`;
  if (lastWords.length === 0) return `${who} ${what}`;
  return [`${who} ${what}; its last words:`, ...lastWords.map((line) => `    ${line}`)].join('\n');
}
