/**
 * The figure of a backward pass whose gradients travel while it goes on.
 *
 *     computing   head │ layer 3 │ layer 2 │ layer 1 │ layer 0 │ embed        gradients are ready from last to first;
 *     network               ▒▒▒▒1▒▒▒▒  ▒▒▒▒2▒▒▒▒         ▒▒▒▒3▒▒▒▒▒▒▒▒        what sticks out at the end is exposed
 *
 * Which gradients make a bucket, when it goes, and what is sent, is what data-parallel itself does: it gets the real
 * parameters of the model `micro` on every rank, and each its gradient in backward's order. A bucket has gone when its
 * parameters have no gradient any more. The bytes are the local transport's counts. Only the clock is thought up: a
 * parameter's part of backward is as long as it has numbers, and a message takes its bytes at the link's rate.
 */
import { bucketedDataParallel, type DataParallel, naiveDataParallel } from '@fourfold/data-parallel';
import { createLlama, initialize, MODELS } from '@fourfold/model';
import type { Parameter } from '@fourfold/ops';
import { type Operation, type ProcessGroup, spmd } from '@fourfold/process-group';
import * as tf from '@tensorflow/tfjs-core';
import { byteText, percent, plain } from './words.ts';

export const VERSIONS = ['naive', 'buckets', 'zero'] as const;

/** What decides what is sent. */
export interface BucketChoice {
  readonly version: (typeof VERSIONS)[number];
  readonly dp: number;
  readonly bucketBytes: number;
}

/** What decides how long that takes. */
export interface Speed {
  /** Bytes in a second, of each rank. */
  readonly rate: number;
  /** Milliseconds of the whole backward. */
  readonly backward: number;
}

/** Milliseconds that a message takes beside its bytes. */
export const LATENCY = 0.05;

export interface Interval {
  readonly start: number;
  readonly end: number;
}

/** Backward through one layer. */
export interface Computed extends Interval {
  readonly name: string;
}

export interface Message extends Interval {
  readonly operation: Operation;
  /** Which of the buckets, from 0; of the naive version, which parameter. */
  readonly bucket: number;
  readonly parameters: readonly string[];
  /** That rank 0 sends. */
  readonly bytes: number;
  /** When it could go: it starts when the one before is through. */
  readonly ready: number;
}

/** A bucket from its first gradient to its last: kinds fill side by side, so several buckets are open at a time. */
export interface Fill extends Interval {
  readonly bucket: number;
  /** Of those that are open at once, which: from 0. */
  readonly lane: number;
}

export interface BucketFigure {
  readonly computed: readonly Computed[];
  readonly fills: readonly Fill[];
  /** How many buckets are open at once. */
  readonly lanes: number;
  readonly messages: readonly Message[];
  readonly backward: number;
  /** When all that travels has arrived. */
  readonly end: number;
  /** How much of that is after backward. */
  readonly exposed: number;
  /** What rank 0 sent in the step, counted and by the package's formula. */
  readonly bytes: number;
  readonly formula: number;
}

// ## A backward pass on every rank

/** A gradient of a parameter, and the layer whose backward finds it. */
interface Arrival {
  readonly parameter: Parameter;
  readonly layer: string;
  /** Its share of backward's time. */
  readonly share: number;
}

/** What rank 0 did. */
export interface Recorded {
  readonly arrivals: readonly Arrival[];
  /** The buckets in the order in which they went: each after which arrival. */
  readonly gone: readonly { readonly after: number; readonly parameters: readonly Parameter[] }[];
  readonly sent: readonly { readonly operation: Operation; readonly bytes: number }[];
  readonly formula: number;
}

/** Gradients from the last parameter to the first; the embedding, tied, gets one as the head and one as itself. */
function arrivalsOf(parameters: readonly Parameter[]): Arrival[] {
  const embedding = parameters[0] as Parameter;
  const all = parameters.reduce((sum, parameter) => sum + sizeOf(parameter), 0);
  const arrivals = [...parameters].reverse().map((parameter): Arrival => {
    const number = /layers\.(\d+)/.exec(parameter.name)?.[1];
    const layer = number ? `layer ${number}` : parameter === embedding ? 'embedding' : 'head';
    return { parameter, layer, share: parameter === embedding ? 0 : sizeOf(parameter) / all }; // its rows: no product
  });
  return [{ parameter: embedding, layer: 'head', share: sizeOf(embedding) / all }, ...arrivals];
}

const sizeOf = ({ shape }: Parameter): number => shape.reduce((product, side) => product * side, 1);

function dataParallel(parameters: readonly Parameter[], group: ProcessGroup, choice: BucketChoice): DataParallel {
  const { version, bucketBytes } = choice;
  if (version === 'naive') return naiveDataParallel(parameters, group);
  return bucketedDataParallel(parameters, group, { backwards: 1, bucketBytes, zero: version === 'zero' });
}

/** Backward, the exchange and (of zeros, so unchanged) the update, on one rank. */
async function runRank(group: ProcessGroup, choice: BucketChoice): Promise<Recorded> {
  const model = createLlama({ ...(MODELS['micro'] as NonNullable<(typeof MODELS)[string]>), vocabulary: 256 });
  initialize(model, ({ fullShape }) => tf.zeros([...fullShape]));
  group.recorder.trace = [];
  const parallel = dataParallel(model.parameters, group, choice);
  const arrivals = arrivalsOf(model.parameters);
  const gone: { after: number; parameters: Parameter[] }[] = [];
  for (const [after, { parameter }] of arrivals.entries()) {
    const waiting = model.parameters.filter((one) => one.grad || one === parameter);
    parameter.accumulate(tf.zeros([...parameter.shape]));
    const left = waiting.filter(({ grad }) => !grad);
    if (left.length > 0) gone.push({ after, parameters: left });
  }
  await parallel.reduced();
  if (choice.version === 'naive')
    gone.push(...model.parameters.map((one) => ({ after: arrivals.length - 1, parameters: [one] })));
  await parallel.gathered();
  const sent = group.recorder.trace.map(({ operation, bytes }) => ({ operation, bytes }));
  const formula = Object.values(parallel.bytes()).reduce((a, b) => a + b, 0);
  for (const parameter of [...model.parameters, ...parallel.updated]) parameter.dispose();
  return { arrivals, gone, sent, formula };
}

/** A step of data parallelism on dp ranks, as rank 0 sees it. */
export async function recordStep(choice: BucketChoice): Promise<Recorded> {
  const [first] = (await spmd(choice.dp, (group) => runRank(group, choice))) as [Recorded];
  return first;
}

// ## The clock

export function bucketFigure(recorded: Recorded, { rate, backward }: Speed): BucketFigure {
  const { computed, ends } = computedLane(recorded.arrivals, backward);
  const messages = networkLane(recorded, ends, rate);
  const end = Math.max(backward, messages.at(-1)?.end ?? 0);
  const bytes = recorded.sent.reduce((sum, one) => sum + one.bytes, 0);
  const fills = fillsOf(recorded, ends);
  const lanes = Math.max(0, ...fills.map(({ lane }) => lane)) + 1;
  const { formula } = recorded;
  return { computed, fills, lanes, messages, backward, end, exposed: end - backward, bytes, formula };
}

/** From its first gradient to its last; a bucket of one gradient is full at once, and not drawn. */
function fillsOf({ arrivals, gone }: Recorded, ends: readonly number[]): Fill[] {
  const busy: number[] = [];
  const fills = gone.map(({ parameters }, bucket) => {
    const times = ends.filter((_, i) => parameters.includes((arrivals[i] as Arrival).parameter));
    return { bucket, start: times[0] as number, end: times.at(-1) as number };
  });
  const placed = fills
    .filter(({ start, end }) => end > start)
    .toSorted((a, b) => a.start - b.start)
    .map((fill) => {
      const free = busy.findIndex((end) => end <= fill.start);
      const lane = free < 0 ? busy.length : free;
      busy[lane] = fill.end;
      return { ...fill, lane };
    });
  return placed.toSorted((a, b) => a.bucket - b.bucket);
}

/** One layer after the other, and when each gradient is there. */
function computedLane(arrivals: readonly Arrival[], backward: number): { computed: Computed[]; ends: number[] } {
  const computed: Computed[] = [];
  let time = 0;
  const ends = arrivals.map(({ layer, share }) => {
    const start = time;
    time += share * backward;
    const last = computed.at(-1);
    if (last?.name === layer) computed[computed.length - 1] = { ...last, end: time };
    else computed.push({ name: layer, start, end: time });
    return time;
  });
  return { computed: computed.filter(({ start, end }) => end > start), ends };
}

/**
 * One message after the other. What is sent after all buckets have gone is ready when these are: ZeRO's new weights,
 * bucket by bucket in the order in which they were filled.
 */
function networkLane({ arrivals, gone, sent }: Recorded, ends: readonly number[], rate: number): Message[] {
  const parametersOf = (bucket: number) => (gone[bucket] as Recorded['gone'][number]).parameters;
  const placeOf = (bucket: number) =>
    Math.min(...parametersOf(bucket).map((one) => arrivals.findLastIndex(({ parameter }) => parameter === one)));
  const filled = [...gone.keys()].sort((a, b) => placeOf(a) - placeOf(b));
  let free = 0;
  return sent.map(({ operation, bytes }, i) => {
    const isGradient = i < gone.length;
    const bucket = isGradient ? i : (filled[i - gone.length] as number);
    const { after, parameters } = gone[bucket] as Recorded['gone'][number];
    const ready = isGradient ? (ends[after] as number) : free;
    const start = Math.max(free, ready);
    free = start + LATENCY + (1000 * bytes) / rate;
    const names = parameters.map(({ name }) => name);
    return { operation, bucket, parameters: names, bytes, ready, start, end: free };
  });
}

// ## In words

export function bucketSummary({ messages, backward, end, exposed, bytes, formula }: BucketFigure): string {
  const hidden = messages.reduce((sum, { start, end: last }) => sum + Math.max(0, Math.min(last, backward) - start), 0);
  const all = messages.reduce((sum, message) => sum + message.end - message.start, 0);
  return (
    `${messages.length} messages of a rank, ${byteText(bytes)} (by the formula ${byteText(formula)}). ` +
    `They take ${plain(all)} ms, of which backward hides ${percent(hidden / all)}; ` +
    `the step ends at ${plain(end)} ms, ${plain(exposed)} ms after backward.`
  );
}
