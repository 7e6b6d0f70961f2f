/**
 * Batches that depend on the seed and the step, and on nothing else.
 *
 *     text      t0 t1 t2 t3 t4 t5 t6 t7 t8 ...            windows of seqLength = 4 tokens, side by side
 *     inputs   [t0 t1 t2 t3][t4 t5 t6 t7] ...             what the model reads
 *     targets  [t1 t2 t3 t4][t5 t6 t7 t8] ...             what it should say: one token further
 *
 * An epoch visits every window once, in an order shuffled by (seed, epoch). Training is then one endless line of
 * sequences, numbered 0, 1, 2, ... through all epochs, and step s takes the sequencesPerStep of them from
 * s x sequencesPerStep on, where sequencesPerStep = dp x microBatchSize x gradAccSteps. Two layouts with the same
 * product therefore train on the same sequences in every step; and a resumed run needs to know only its step.
 */
import { UserError } from '@fourfold/runtime/errors';
import { keyOf } from '@fourfold/runtime/random';
import { shuffled } from './shuffle.ts';
import type { Tokens } from './tokens.ts';

/** B sequences of T tokens, row by row: the token at [b, t] is at b x T + t. */
export interface Batch {
  /** The tokens that a model sees. */
  readonly inputs_BT: Int32Array;
  /** The token after each input token. */
  readonly targets_BT: Int32Array;
  /** B sequences of T tokens. */
  readonly shape: readonly [B: number, T: number];
}

/** What to take at a step. */
export interface BatchRequest {
  /** The text's part to take them from. */
  readonly tokens: Tokens;
  /** T, the tokens of a sequence. */
  readonly seqLength: number;
  /** dp x microBatchSize x gradAccSteps: the size of the global batch, in sequences. */
  readonly sequencesPerStep: number;
  /** The run's: it decides the order of the sequences. */
  readonly seed: number;
  /** Counted from 0. */
  readonly step: number;
  /** Which of the step's sequences to read, in this order; all of them when left out. See `sequencesOf`. */
  readonly sequences?: readonly number[];
}

/**
 * The global batch of a step, or those of its sequences that are asked for.
 *
 * @throws UserError where the text is shorter than one sequence
 */
export function batchAt({ tokens, seqLength, sequencesPerStep, seed, step, sequences }: BatchRequest): Batch {
  const windows = windowsOf(tokens, seqLength);
  const chosen = sequences ?? Array.from({ length: sequencesPerStep }, (_, i) => i);
  return readWindows(
    tokens,
    seqLength,
    chosen.map((sequence) => {
      const number = step * sequencesPerStep + sequence;
      const epoch = Math.floor(number / windows);
      return shuffled(number % windows, windows, keyOf(seed, `batches of epoch ${epoch}`));
    }),
  );
}

// How a step's sequences are dealt out. Micro-step m works on the m-th run of dp x microBatchSize sequences, and in it
// data-parallel rank r takes the r-th run of microBatchSize. With dp = 2, microBatchSize = 2, gradAccSteps = 2:
//
//     sequence      0 1 2 3   4 5 6 7
//     micro-step    0 0 0 0   1 1 1 1
//     rank          0 0 1 1   0 0 1 1

/** Where a data-parallel rank stands, and how its part of a step is cut. */
export interface Share {
  /** Data-parallel ranks. */
  readonly dp: number;
  /** Which of them this is, from 0. */
  readonly dpRank: number;
  /** Sequences that go through the model at once. */
  readonly microBatchSize: number;
  /** Micro-batches of a step. */
  readonly gradAccSteps: number;
}

/** Which of a step's sequences `dpRank` takes: entry m lists the microBatchSize sequences of micro-step m. */
export function sequencesOf({ dp, dpRank, microBatchSize, gradAccSteps }: Share): number[][] {
  return Array.from({ length: gradAccSteps }, (_, micro) => {
    const first = (micro * dp + dpRank) * microBatchSize;
    return Array.from({ length: microBatchSize }, (_, i) => first + i);
  });
}

/** Of each sequence the tokens at some positions, in their order: what a context-parallel rank takes of a batch. */
export function atPositions({ inputs_BT, targets_BT, shape: [B, T] }: Batch, positions: Int32Array): Batch {
  const take = (ids: Int32Array) =>
    Int32Array.from({ length: B * positions.length }, (_, i) => {
      const [row, column] = [Math.floor(i / positions.length), positions[i % positions.length] as number];
      return ids[row * T + column] as number;
    });
  return { inputs_BT: take(inputs_BT), targets_BT: take(targets_BT), shape: [B, positions.length] };
}

/** How to go through a text once. */
export interface ValidationRequest {
  /** The text's part to go through. */
  readonly tokens: Tokens;
  /** T, the tokens of a sequence. */
  readonly seqLength: number;
  /** Sequences of a batch; the last one may have fewer. */
  readonly microBatchSize: number;
  /** Stop after so many sequences. All of them when left out. */
  readonly maxSequences?: number;
}

/**
 * Batches over the text from its beginning, in order, the same at every call. The last may hold fewer sequences.
 *
 * @throws UserError where the text is shorter than one sequence
 */
export function* validationBatches(request: ValidationRequest): Generator<Batch> {
  const { tokens, seqLength, microBatchSize, maxSequences = Number.POSITIVE_INFINITY } = request;
  const total = Math.min(maxSequences, windowsOf(tokens, seqLength));
  for (let first = 0; first < total; first += microBatchSize) {
    const size = Math.min(microBatchSize, total - first);
    yield readWindows(
      tokens,
      seqLength,
      Array.from({ length: size }, (_, i) => first + i),
    );
  }
}

/**
 * How many sequences a text holds. They don't overlap, but the last target is one token beyond the last input, so
 * seqLength + 1 tokens make one sequence and 2 x seqLength + 1 make two.
 *
 * @throws UserError where it holds none
 */
export function windowsOf(tokens: Tokens, seqLength: number): number {
  const windows = Math.floor((tokens.count - 1) / seqLength);
  if (windows >= 1) return windows;
  const part = `the ${tokens.part} part of the text, which has ${tokens.count} tokens`;
  const mend = tokens.count > 1 ? `use at most ${tokens.count - 1} or give more text` : 'give more text';
  throw new UserError(`seqLength=${seqLength} needs ${seqLength + 1} tokens, more than ${part}: ${mend}`);
}

/** Reads whole windows by their numbers and lays inputs and targets out side by side. */
function readWindows(tokens: Tokens, seqLength: number, windows: readonly number[]): Batch {
  const inputs_BT = new Int32Array(windows.length * seqLength);
  const targets_BT = new Int32Array(windows.length * seqLength);
  windows.forEach((window, row) => {
    const ids = tokens.read(window * seqLength, seqLength + 1);
    inputs_BT.set(ids.subarray(0, seqLength), row * seqLength);
    targets_BT.set(ids.subarray(1), row * seqLength);
  });
  return { inputs_BT, targets_BT, shape: [windows.length, seqLength] };
}
