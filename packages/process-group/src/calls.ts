/**
 * What every call of a collective leaves behind: a line in a table of totals and, where asked for, in a trace.
 *
 *     group.recorder.totals()    [{ group: 'tp', operation: 'allReduce', calls: 12, bytes: 98304, waited: 3.1 }, ...]
 *     group.recorder.trace = []  from here on each call is kept too, with start, end, bytes and peers
 *     group.recorder.spans = []  and each stretch of computing that was run by recorder.time(name, ...)
 *     group.recorder.device = [] and what the GPU did when, where device-trace.ts is asked for it
 *
 * Bytes are those of tensors that this rank sent, without headers. Times are milliseconds. Waiting counts from `await`
 * on: a call of 5 ms that computing hid for 4 ms was waited for 1 ms.
 */

import { type DType, dtypeOf } from '@fourfold/runtime/tensorflow';
import type { Tensor } from '@tensorflow/tfjs-core';

/** What of all ranks' tensors: their sum, largest or mean, element by element. */
export type Reduction = 'sum' | 'mean' | 'max';

/** The collectives, in the order in which reports list them. */
export const OPERATIONS = [
  'allReduce',
  'allGather',
  'reduceScatter',
  'broadcast',
  'allToAll',
  'sendReceive',
  'barrier',
  'split',
] as const;
/** One of OPERATIONS. */
export type Operation = (typeof OPERATIONS)[number];

/** Shape and true dtype of a tensor. */
export interface TensorSpec {
  /** Of this rank's tensor. */
  readonly shape: readonly number[];
  /** The true one, bfloat16 too. */
  readonly dtype: DType;
}

/** What a rank says of a tensor, so that others can tell whether theirs is alike. */
export const specOf = (x: Tensor): TensorSpec => ({ shape: x.shape, dtype: dtypeOf(x) });

/** 'float32 [2,3]' */
export const describe = ({ dtype, shape }: TensorSpec): string => `${dtype} [${shape}]`;

/** How many elements a shape has; 1 for [], a single number. */
export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, side) => product * side, 1);

/** Milliseconds since 1970, to some microseconds: one clock for all processes of a machine. */
export const now = (): number => performance.timeOrigin + performance.now();

/** One collective, as one rank called it. */
export class Call {
  /** Which one. */
  readonly operation: Operation;
  /** What all ranks of the group must have called: 'allReduce(sum) of float32 [2,3]'. */
  readonly text: string;
  /** The group's name. */
  readonly group: string;
  /** World ranks of the others. */
  readonly peers: readonly number[];
  /** When it was called, in milliseconds since 1970 (`now`). */
  readonly start = now();
  /** When it ended, by the same clock; undefined: not yet. */
  end: number | undefined;
  /** Bytes of tensors sent; the transport adds to it. */
  bytes = 0;
  #waitingSince: number | undefined;

  constructor(operation: Operation, text: string, group: string, peers: readonly number[]) {
    this.operation = operation;
    this.text = text;
    this.group = group;
    this.peers = peers;
  }

  /** Somebody awaits it. */
  wait(): void {
    this.#waitingSince ??= now();
  }

  /** Whether somebody awaits it and it has not ended. */
  get isWaitedFor(): boolean {
    return this.#waitingSince !== undefined && this.end === undefined;
  }

  /** Milliseconds between `await` and the end. */
  get waited(): number {
    if (this.#waitingSince === undefined || this.end === undefined) return 0;
    return Math.max(0, this.end - this.#waitingSince);
  }
}

/** What all calls of one operation in one group add up to. */
export interface Totals {
  /** The group's name. */
  readonly group: string;
  /** Which collective. */
  readonly operation: Operation;
  /** How many. */
  calls: number;
  /** Bytes that this rank sent. */
  bytes: number;
  /** Milliseconds between `await` and the end, of all calls. */
  waited: number;
}

/** A stretch of computing, as a trace shows it: 'forward of micro-batch 2'. Start and end are in a Call's clock. */
export interface Span {
  /** What the trace calls it. */
  readonly name: string;
  /** When it began, in milliseconds since 1970. */
  readonly start: number;
  /** When it was over, by the same clock. */
  readonly end: number;
}

/** An op or a collective on a GPU. */
export interface DeviceSpan {
  /** 'compute', or the name of the group that communicated: what is on one track comes one after the other. */
  readonly track: string;
  /** 'FourfoldProduct', 'allReduce' */
  readonly name: string;
  /** Of a collective: bytes of the tensor that the rank brought, or of all messages that it sent and got. */
  readonly bytes?: number;
  /** In milliseconds after the trace's start, by the GPU's clock. */
  readonly start: number;
  /** By the same clock. */
  readonly end: number;
}

/** What one rank's GPU did, from a moment at which it had nothing to do to the next. */
export interface DeviceTrace {
  /** In a Call's clock: milliseconds since 1970. */
  readonly start: number;
  /** In the order of their starts on each track. */
  readonly spans: readonly DeviceSpan[];
}

/** What one rank's calls add up to, over all its groups. */
export class Recorder {
  /** Set to an array, it gets every call that ends. */
  trace: Call[] | undefined;
  /** Set to an array, it gets what `time` timed. */
  spans: Span[] | undefined;
  /** Set to an array, it is to get what the GPU did, a trace a step. */
  device: DeviceTrace[] | undefined;
  readonly #totals = new Map<string, Totals>();
  #apart = false;

  /** Runs `body`, whose calls are not counted: what isn't training, among training. */
  async apart<R>(body: () => Promise<R>): Promise<R> {
    this.#apart = true;
    try {
      return await body();
    } finally {
      this.#apart = false;
    }
  }

  /** Runs `body`, and notes under `name` when. */
  async time<R>(name: string, body: () => Promise<R>): Promise<R> {
    const start = now();
    const result = await body();
    this.spans?.push({ name, start, end: now() });
    return result;
  }

  /** Ends a call. A result that is ready before it is awaited was not waited for. */
  finish(call: Call): void {
    call.end = now();
    if (this.#apart) return;
    this.trace?.push(call);
    const { group, operation } = call;
    const key = `${group} ${operation}`;
    const totals = this.#totals.get(key) ?? { group, operation, calls: 0, bytes: 0, waited: 0 };
    this.#totals.set(key, totals);
    totals.calls += 1;
    totals.bytes += call.bytes;
    totals.waited += call.waited;
  }

  /** By group and operation, in the order of first use. */
  totals(): readonly Readonly<Totals>[] {
    return [...this.#totals.values()];
  }

  /** Forgets all calls so far. */
  reset(): void {
    this.#totals.clear();
    if (this.trace) this.trace = [];
    if (this.spans) this.spans = [];
    if (this.device) this.device = [];
  }
}
