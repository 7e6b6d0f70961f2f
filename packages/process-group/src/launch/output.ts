/**
 * Shows the output of several ranks on one terminal: each line behind the name of the rank that printed it.
 *
 *     [rank 0]  step 1
 *     [rank 10] step 1
 *     [dp0 tp1] step 2       a rank goes by its place in the mesh as soon as it has told it
 *
 * A line goes out in one write, so it is never torn. Where the reader is slow, the ranks are made to wait for him,
 * rather than their output pile up here.
 */
import { once } from 'node:events';
import { styleText } from 'node:util';

/** process.stdout, process.stderr, or a test's stand-in. */
export interface Sink extends NodeJS.WritableStream {
  readonly isTTY?: boolean;
  hasColors?(): boolean;
}

/** Neither red, which looks like an error, nor black or white, one of which is the paper. */
const COLORS = ['cyan', 'yellow', 'green', 'magenta', 'blue'] as const;

/** The terminal that all ranks share. */
export class Output {
  readonly #sinks: readonly Sink[];
  readonly #names: Map<number, string>;
  readonly #draining = new Map<Sink, Promise<void>>();
  readonly #closed = new Set<Sink>();

  /** For these ranks; `onClosed` is called once when the reader has gone away (as `| head` does). */
  constructor(stdout: Sink, stderr: Sink, ranks: readonly number[], onClosed: () => void) {
    this.#sinks = [stdout, stderr];
    this.#names = new Map(ranks.map((rank) => [rank, `rank ${rank}`]));
    for (const sink of this.#sinks)
      sink.on('error', () => {
        this.#closed.add(sink);
        onClosed();
      });
  }

  /** From now on the rank goes by its place, 'dp0 tp1'. */
  name(rank: number, place: string): void {
    this.#names.set(rank, place);
  }

  /** Prints lines of a rank to stdout or stderr. Ends when there is room for more. */
  async print(rank: number, stream: 'stdout' | 'stderr', lines: readonly string[]): Promise<void> {
    const sink = this.#sinks[stream === 'stdout' ? 0 : 1] as Sink;
    if (lines.length === 0) return;
    const prefix = this.#prefix(rank, sink);
    const text = lines.map((line) => `${prefix}${line}\n`).join('');
    if (!this.#closed.has(sink) && !sink.write(text)) await this.#drained(sink);
  }

  /** A line of the launcher's own, on stderr. */
  note(line: string): void {
    const stderr = this.#sinks[1] as Sink;
    if (!this.#closed.has(stderr)) stderr.write(`${line}\n`);
  }

  #prefix(rank: number, sink: Sink): string {
    const name = `[${this.#names.get(rank)}]`;
    const width = Math.max(...[...this.#names.values()].map((one) => one.length)) + 2;
    const color = COLORS[rank % COLORS.length] ?? 'cyan';
    // hasColors() asks NO_COLOR, FORCE_COLOR and TERM.
    const shown = sink.isTTY && sink.hasColors?.() ? styleText(color, name, { validateStream: false }) : name;
    return `${shown}${' '.repeat(width - name.length)} `;
  }

  /** One wait for all ranks that want to write. A sink that fails meanwhile has room for all: nobody reads it. */
  #drained(sink: Sink): Promise<void> {
    const draining = this.#draining.get(sink) ?? this.#drain(sink);
    this.#draining.set(sink, draining);
    return draining;
  }

  async #drain(sink: Sink): Promise<void> {
    await once(sink, 'drain').catch(() => {});
    this.#draining.delete(sink);
  }
}
