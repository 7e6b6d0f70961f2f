/**
 * A progress bar for what takes long: redrawn in place on a terminal, a plain line every few seconds in a pipe.
 *
 *     Download  ██████████░░░░░░░░░░░░░░  42%  115 of 274 MB, 12 s left
 */

/** Where a bar is drawn: process.stdout, process.stderr, or a test's stand-in. */
export interface Screen {
  /** Writes as it is. */
  write(text: string): unknown;
  /** Whether a bar can be redrawn in place. */
  readonly isTTY?: boolean | undefined;
  /** Its width in characters. */
  readonly columns?: number | undefined;
}

/** What a bar is of. */
export interface ProgressOptions {
  /** What stands before it. */
  readonly label: string;
  /** The count at which the work is done. */
  readonly total: number;
  /** What is counted: 'steps', 'files'; 'bytes' are shown as MB. */
  readonly unit: string;
  /** Default: process.stderr, so that what a program prints to stdout stays clean. */
  readonly screen?: Screen;
  /** Milliseconds between two lines in a pipe; default 5000. */
  readonly every?: number;
}

/** A bar on the screen. */
export interface ProgressBar {
  /** Shows that `count` of the total is done. Cheap to call often: it draws at most ten times a second. */
  update(count: number): void;
  /** Prints a line of text above the bar. */
  print(line: string): void;
  /** Takes the bar away. */
  done(): void;
}

const WIDTH = 24; // characters
const REDRAW = 100; // milliseconds

/** Starts a bar at 0; the time left is the time taken so far, times what is left over what is done. */
export function progressBar({
  label,
  total,
  unit,
  screen = process.stderr,
  every = 5000,
}: ProgressOptions): ProgressBar {
  const start = performance.now();
  const pause = screen.isTTY ? REDRAW : every;
  // A terminal sees the bar at once; a pipe sees nothing of what ends within its first few seconds.
  let drawn = screen.isTTY ? Number.NEGATIVE_INFINITY : start;
  let bar = '';
  let ended = false;

  const erase = () => bar && screen.write('\r\x1b[K');
  const draw = (count: number) => {
    const part = total > 0 ? Math.min(1, count / total) : 1;
    const left = part > 0 ? `, ${duration(((performance.now() - start) * (1 - part)) / part)} left` : '';
    const percent = `${Math.floor(100 * part)}%`;
    const counts = `${amount(count, total, unit)}${left}`;
    if (!screen.isTTY) return screen.write(`${label}  ${percent}  ${counts}\n`);
    const full = Math.round(WIDTH * part);
    bar = `${label}  ${'█'.repeat(full)}${'░'.repeat(WIDTH - full)}  ${percent.padStart(4)}  ${counts}`;
    return screen.write(`\r${bar.slice(0, (screen.columns ?? 80) - 1)}\x1b[K`); // a wrapped line can't be redrawn
  };

  return {
    update(count) {
      const now = performance.now();
      if (ended || now - drawn < pause) return;
      drawn = now;
      draw(count);
    },
    print(line) {
      erase();
      screen.write(`${line}\n${bar.slice(0, (screen.columns ?? 80) - 1)}`);
    },
    done() {
      erase();
      bar = '';
      ended = true;
    },
  };
}

/** '115 of 274 MB', '3 of 20 steps'. */
function amount(count: number, total: number, unit: string): string {
  if (unit !== 'bytes') return `${count} of ${total} ${unit}`;
  return `${Math.round(count / 1e6)} of ${Math.round(total / 1e6)} MB`;
}

/** Milliseconds in words a reader takes in at a glance: '0.4 s', '12 s', '3 min 20 s', '1 h 5 min'. */
export function duration(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
