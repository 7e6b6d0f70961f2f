/**
 * What a run's JSON lines say of it in the end: its last loss, and what a step usually took.
 *
 *     {"step":1,"loss":5.55,"tokensPerSecond":856,...}      warm-up: kernels are chosen, buffers allocated; left out
 *     {"step":4,"loss":4.74,"tokensPerSecond":1504,...}     medians, which one slow step doesn't move
 *     {"step":6,"validationLoss":4.44,"bitsPerByte":6.4}
 *     {"step":7,"lo                                         half a line: the run was killed here, or goes on
 */
import { z } from 'zod';

/** JSON has no NaN: a null stands for it. */
const number = z.number().nullish();
const lineSchema = z.object({
  step: z.int().nonnegative(),
  loss: number,
  validationLoss: number,
  tokensPerSecond: number,
  milliseconds: number,
  memoryBytes: number,
  mfu: number,
});
type Line = z.infer<typeof lineSchema>;

/** Undefined where no line said it, or none after the warm-up. */
export interface Figures {
  /** The last that was done. */
  readonly step: number | undefined;
  readonly loss: number | undefined;
  readonly validationLoss: number | undefined;
  /** Medians. */
  readonly tokensPerSecond: number | undefined;
  readonly milliseconds: number | undefined;
  readonly mfu: number | undefined;
  /** The most, of the first rank. */
  readonly memoryBytes: number | undefined;
  /** Lines that are none of ours, or torn: but for a last one that has no end yet. */
  readonly unreadable: number;
}

/** Of the text of a file; the first `warmUp` steps count for nothing but themselves. */
export function figuresOf(text: string, warmUp: number): Figures {
  const whole = text.split('\n').slice(0, -1); // what follows the last line's end is no line yet
  const lines = whole.map(read);
  const known = lines.filter((line) => line !== undefined);
  // A run that began again at a checkpoint says some steps twice: the later word counts.
  const steps = new Map(known.filter((line) => line.milliseconds != null).map((line) => [line.step, line]));
  const timed = [...steps.values()].sort((a, b) => a.step - b.step).slice(warmUp);
  const last = (key: keyof Line) => known.findLast((line) => line[key] !== undefined)?.[key] ?? undefined;
  const all = (key: keyof Line, of: readonly Line[] = timed) =>
    of.map((line) => line[key]).filter((value) => value != null);
  return {
    step: last('step'),
    loss: last('loss'),
    validationLoss: last('validationLoss'),
    tokensPerSecond: median(all('tokensPerSecond')),
    milliseconds: median(all('milliseconds')),
    mfu: median(all('mfu')),
    memoryBytes: all('memoryBytes', known).reduce<number | undefined>(
      (most, one) => Math.max(most ?? 0, one),
      undefined,
    ),
    unreadable: lines.length - known.length,
  };
}

function read(text: string): Line | undefined {
  try {
    return lineSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** The middle one, or the mean of the middle two. */
export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const [low, high] = [sorted[Math.ceil(sorted.length / 2) - 1], sorted[Math.floor(sorted.length / 2)]];
  return low === undefined || high === undefined ? undefined : (low + high) / 2;
}
