/**
 * Cuts what a process prints into whole lines, so that the lines of several processes can be shown one below the other.
 *
 *     'loss 3.1\nlo' 'ss 2.9\n'       ->  'loss 3.1' 'loss 2.9'
 *     '10%\r20%\r30%\rdone\nnext\n'   ->  'done' 'next'
 *
 * A carriage return goes back to the start of the line, and what follows is written over it, as progress bars are.
 * Of such a line its last state is kept, which is what a terminal shows in the end; the bars of several ranks could not
 * be drawn on one line. '\r\n' is a line's end like '\n'.
 */
import { StringDecoder } from 'node:string_decoder';

/** Characters; a longer line comes in pieces, so that one without an end can't fill the memory. */
export const LONGEST_LINE = 64 * 1024;

/** One stream of one process: chunks in, whole lines out. */
export class Lines {
  readonly #decoder = new StringDecoder('utf8'); // keeps the first half of a character that two chunks share
  #rest = '';

  /** The lines that end in this chunk. */
  add(chunk: Buffer): string[] {
    const lines = (this.#rest + this.#decoder.write(chunk)).split('\n');
    const last = lines.pop() ?? '';
    const whole = lines.flatMap((line) => pieces(lastState(line)));
    const begun = pieces(lastState(last));
    this.#rest = `${begun.pop()}${last.endsWith('\r') ? '\r' : ''}`;
    return [...whole, ...begun];
  }

  /** The last line, if the output ended without a line's end. */
  end(): string[] {
    const rest = lastState(this.#rest + this.#decoder.end());
    this.#rest = '';
    return rest === '' ? [] : [rest];
  }
}

/** What is left of a line after its carriage returns. Those at its end have nothing written over the line as yet. */
function lastState(line: string): string {
  let end = line.length;
  while (line[end - 1] === '\r') end--;
  return line.slice(line.lastIndexOf('\r', end - 1) + 1, end);
}

/** A line in pieces of at most LONGEST_LINE, none of which ends inside a character of two code units (an emoji). */
function pieces(line: string): string[] {
  const found: string[] = [];
  let start = 0;
  while (line.length - start > LONGEST_LINE) {
    const last = line.charCodeAt(start + LONGEST_LINE - 1);
    const end = start + LONGEST_LINE - (last >= 0xd800 && last < 0xdc00 ? 1 : 0);
    found.push(line.slice(start, end));
    start = end;
  }
  return [...found, line.slice(start)];
}
