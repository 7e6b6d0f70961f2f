/**
 * The transport between GPUs: NCCL, on tensors that never leave them.
 *
 *     const transport = await openNccl({ control })      // control: a ProcessGroup of the same ranks over tcp
 *     const world = new ProcessGroup({ name: 'world', rank, ranks, transport })
 *
 * JavaScript enqueues work for the GPU and runs ahead of it; that stays so here. A collective is enqueued on a stream
 * of its own, behind what TensorFlow has been given so far. When somebody awaits it, TensorFlow's stream is told to
 * wait for it from there on, and the promise is kept at once: what was enqueued in between runs beside the collective,
 * and no thread waits for the GPU. Each collective is to be awaited, if only to let go of its tensors.
 *
 * NCCL trusts its callers: ranks that call different collectives, or a rank that died, leave the others waiting for
 * ever. A thread of the native module watches the time and NCCL's asynchronous errors, and `control` hears of ranks
 * that are gone. By then the GPU is stuck, and results were promised that will never come: the process has to end.
 *
 * Sums are NCCL's own: in its order, and for bfloat16 rounded at each step. Every rank gets the same bits.
 */

import { reshape } from '@fourfold/runtime/shapes';
import { type Attribute, attr, dtypeOf, executeMany } from '@fourfold/runtime/tensorflow';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type Call, type DeviceSpan, type Reduction, specOf } from '../calls.ts';
import type { ProcessGroup, Transfer, Transport } from '../process-group.ts';
import { allGatherBytes, allReduceBytes, bytesOf } from '../traffic.ts';
import { axisBack, axisFirst, partsBack, partsFirst } from './axes.ts';
import { planOf } from './messages.ts';
import type { NativeNccl } from './native.ts';
import { CallTimes } from './times.ts';

/** Runs a TensorFlow op: executeMany, or a test's imitation. */
export type Execute = (op: string, inputs: Tensor[], attributes: Attribute[], outputs: number) => Tensor[];

/** What all NCCL groups of a process share. */
export class Session {
  readonly native: NativeNccl;
  readonly execute: Execute;
  readonly timeoutSeconds: number;
  /** Where it is set, collectives are timed. */
  times: CallTimes | undefined;
  readonly #onFailure: (error: Error) => unknown;
  #failure: Error | undefined;

  constructor(native: NativeNccl, timeoutSeconds: number, onFailure: (error: Error) => unknown, execute = executeMany) {
    this.native = native;
    this.timeoutSeconds = timeoutSeconds;
    this.#onFailure = onFailure;
    this.execute = execute;
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  /** The process ends, if not by itself. */
  endSoon(): void {
    this.native.endWithin(LAST_SECONDS);
  }

  /** Ends the work of this rank; the first error counts. */
  fail(error: Error): void {
    if (this.#failure) return;
    this.#failure = error;
    this.endSoon();
    this.#onFailure(error);
  }
}

/** Seconds to end in order: that may wait for the GPU, which may be stuck. */
const LAST_SECONDS = 3;

/** Their numbers in packages/runtime/native/nccl/collectives.cc. */
const REDUCTION: Record<Reduction, number> = { sum: 0, mean: 1, max: 2 };

/** One rank's end of a group. Made by openNccl, and by splitting. */
export class NcclTransport implements Transport {
  readonly #session: Session;
  /** The communicator's number; -1 in a group of one, which has none. */
  readonly #comm: number;
  readonly #control: ProcessGroup;
  /** What is left to do when a call is awaited. */
  readonly #unawaited = new WeakMap<Call, () => void>();
  #splitting = false;

  constructor(session: Session, comm: number, control: ProcessGroup) {
    this.#session = session;
    this.#comm = comm;
    this.#control = control;
  }

  get #size(): number {
    return this.#control.size;
  }

  allReduce(x: Tensor, reduction: Reduction, call: Call): Promise<Tensor> {
    call.bytes += allReduceBytes(specOf(x), this.#control.rank, this.#size);
    return this.#start(call, 'FourfoldNcclAllReduce', x, [attr.int('reduction', REDUCTION[reduction])]);
  }

  allGather(x: Tensor, axis: number, sizes: readonly number[], call: Call): Promise<Tensor> {
    call.bytes += allGatherBytes(specOf(x), this.#size);
    if (sizes.some((length) => length !== sizes[0])) return this.#gatherUneven(x, axis, sizes, call);
    if (axis === 0) return this.#start(call, 'FourfoldNcclAllGather', x, []);
    // All of every rank's x arrives one after the other, [n, A, D, B].
    const join = (y: Tensor) => tf.tidy(() => partsBack(reshape(y, [this.#size, ...x.shape]), axis));
    return this.#start(call, 'FourfoldNcclAllGather', x, [], join);
  }

  #gatherUneven(x: Tensor, axis: number, sizes: readonly number[], call: Call): Promise<Tensor> {
    const lengths = tf.tensor1d([...sizes], 'int32');
    const first = axis === 0 ? x : axisFirst(x, axis);
    const back = axis === 0 ? undefined : (y: Tensor) => axisBack(y, axis);
    const result = this.#start(call, 'FourfoldNcclAllGatherUneven', [first, lengths], [], back);
    tf.dispose(first === x ? [lengths] : [lengths, first]);
    return result;
  }

  reduceScatter(x: Tensor, reduction: Reduction, axis: number, call: Call): Promise<Tensor> {
    call.bytes += bytesOf(specOf(x)) - bytesOf(specOf(x)) / this.#size;
    const attributes = [attr.int('reduction', REDUCTION[reduction])];
    if (axis === 0) return this.#start(call, 'FourfoldNcclReduceScatter', x, attributes);
    const parts = partsFirst(x, axis, this.#size);
    const [, ...part] = parts.shape;
    const result = this.#start(call, 'FourfoldNcclReduceScatter', parts, attributes, (y) => reshape(y, part));
    parts.dispose();
    return result;
  }

  broadcast(x: Tensor, root: number, call: Call): Promise<Tensor> {
    call.bytes += this.#control.rank === root ? (this.#size - 1) * bytesOf(specOf(x)) : 0;
    return this.#start(call, 'FourfoldNcclBroadcast', x, [attr.int('root', root)]);
  }

  allToAll(x: Tensor, axis: number, call: Call): Promise<Tensor> {
    call.bytes += bytesOf(specOf(x)) - bytesOf(specOf(x)) / this.#size;
    if (axis === 0) return this.#start(call, 'FourfoldNcclAllToAll', x, []);
    const parts = partsFirst(x, axis, this.#size);
    const result = this.#start(call, 'FourfoldNcclAllToAll', parts, [], (y) => partsBack(y, axis));
    parts.dispose();
    return result;
  }

  sendReceive(transfers: readonly Transfer[], call: Call): Promise<Tensor[]> {
    const { inputs, counts, plan, order } = planOf(transfers);
    for (const x of inputs) call.bytes += bytesOf(specOf(x));
    const bytes = transfers.reduce((sum, one) => sum + bytesOf('send' in one ? specOf(one.send) : one.like), 0);
    const planTensor = tf.tensor1d(plan, 'int32');
    const attributes = Object.entries(counts).map(([name, count]) => attr.int(name, count));
    const run = () => this.#run('FourfoldNcclSendReceive', [...inputs, planTensor], attributes, order.length);
    // The op returns what it received sorted by dtype; order[k] is the place of the k-th among the receives.
    const result = this.#pending(call, bytes, run, (got) =>
      order.map((_, place) => got[order.indexOf(place)] as Tensor),
    );
    planTensor.dispose();
    return result;
  }

  /** Ranks meet, not GPUs: these come when they have done what was enqueued before. */
  barrier(): Promise<void> {
    return this.#control.barrier();
  }

  /**
   * Every rank of the group calls it, and nothing else of the group until it ends: NCCL's thread and ours must not use
   * one communicator at a time.
   */
  async subset(members: readonly number[]): Promise<NcclTransport> {
    const { native, timeoutSeconds } = this.#session;
    const place = members.indexOf(this.#control.rank);
    const [first = 0] = members;
    this.#splitting = true;
    try {
      const control = await this.#control.split(first, place, `${this.#control.name} ${members}`);
      const made = native.split(this.#comm, members.length > 1 ? first : -1, place);
      const comm = await within(made, timeoutSeconds, `splitting group ${this.#control.name}`);
      return new NcclTransport(this.#session, comm, control);
    } finally {
      this.#splitting = false;
    }
  }

  waiting(call: Call): void {
    const finish = this.#unawaited.get(call);
    this.#unawaited.delete(call);
    finish?.();
  }

  /** A rank that is to read a tensor awaits this first: reading keeps its thread from hearing of anything else. */
  async drained(): Promise<void> {
    await this.#session.native.drained();
  }

  timeCalls(base: number): () => DeviceSpan[] {
    const session = this.#session;
    const times = new CallTimes(session.native, base);
    session.times = times;
    return () => {
      session.times = undefined;
      return times.stop();
    };
  }

  /** Something else than NCCL found that the ranks can't go on: `control` lost a peer. */
  fail(error: Error): void {
    this.#session.fail(error);
  }

  /** This rank is about to fail: should the GPU keep the process from ending, it is ended. */
  endSoon(): void {
    this.#session.endSoon();
  }

  /** Ends what is running first, unless the rank has failed: then it would never end. */
  async close(): Promise<void> {
    const { native, failure, timeoutSeconds } = this.#session;
    const closed = this.#comm < 0 ? undefined : native.close(this.#comm, failure !== undefined);
    await within(Promise.resolve(closed), timeoutSeconds, `closing group ${this.#control.name}`);
    await this.#control.close();
  }

  /** Starts an op of one output; `finish` makes the result of it, on TensorFlow's stream and behind the collective. */
  #start(
    call: Call,
    op: string,
    inputs: Tensor | Tensor[],
    attributes: Attribute[],
    finish?: (y: Tensor) => Tensor,
  ): Promise<Tensor> {
    const [x] = (Array.isArray(inputs) ? inputs : [inputs]) as [Tensor];
    const all = [attr.type('T', dtypeOf(x)), ...attributes];
    const run = () => this.#run(op, Array.isArray(inputs) ? inputs : [inputs], all, 1);
    return this.#pending(call, bytesOf(specOf(x)), run, ([y]) => {
      if (!finish) return y as Tensor;
      const result = finish(y as Tensor);
      (y as Tensor).dispose();
      return result;
    });
  }

  #run(op: string, inputs: Tensor[], attributes: Attribute[], outputs: number): Tensor[] {
    if (this.#session.failure) throw this.#session.failure;
    if (this.#splitting) throw new Error(`group ${this.#control.name} is being split: await that first`);
    return this.#session.execute(op, inputs, [...attributes, attr.int('comm', this.#comm)], outputs);
  }

  /** Enqueues a collective of so many bytes now; the promise is kept when somebody awaits `call`. */
  #pending<T>(call: Call, bytes: number, run: () => Tensor[], finish: (outputs: Tensor[]) => T): Promise<T> {
    const { native, times } = this.#session;
    return new Promise((resolve, reject) => {
      const outputs = run();
      const ticket = native.ticket(this.#comm, `${call.text} in group ${call.group}`);
      times?.started(ticket, call, bytes);
      const keep = () => {
        try {
          native.wait(this.#comm, ticket);
          resolve(finish(outputs));
        } catch (error) {
          reject(error);
        }
      };
      if (call.isWaitedFor) keep();
      else this.#unawaited.set(call, keep);
    });
  }
}

/** What `promise` gives; an error where that takes longer than `seconds`. */
export async function within<T>(promise: Promise<T>, seconds: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Error(`${what} did not end within ${seconds} s: a rank is missing`);
    timer = setTimeout(() => reject(error), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
