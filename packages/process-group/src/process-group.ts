/**
 * A group of ranks that compute together, as one of its ranks sees it.
 *
 *     allReduce       every rank gets the sum         x0+x1     x0+x1
 *     reduceScatter   every rank gets a part of it    (x0+x1)₀  (x0+x1)₁
 *     allGather       every rank gets all parts       x0 x1     x0 x1
 *     broadcast       every rank gets the root's      x0        x0
 *     allToAll        part j of rank i to rank j      x0₀ x1₀   x0₁ x1₁
 *     sendReceive     messages between two ranks, started together so that no order of them can deadlock
 *     barrier         nobody goes on before all are there
 *
 * Reduce-scatter, then all-gather, is an all-reduce; and forward and backward come in pairs, since the gradient of a
 * sum over ranks is a broadcast and the gradient of a gather a scatter. All ranks of a group call the same collectives
 * in the same order, with the same shapes and dtypes; a rank that doesn't gets an error that names both calls.
 *
 * Every call returns a promise and runs from the moment of the call; overlap is written by where one awaits. Inputs
 * stay the caller's, who may dispose of them at once; results are new tensors, the caller's too, and all ranks hold the
 * same bits. Sums are taken in rank order, in float32 also for bfloat16 tensors; a ring over tcp has another order, and
 * so has NCCL, which rounds bfloat16 at each step. What can't be right (no such axis or rank, ranks that don't divide
 * the axis, the mean of int32 tensors, tensors of bool) is an Error at once.
 */
import { share } from '@fourfold/runtime/tensorflow';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
// biome-ignore format: a list
import {
  Call, type DeviceSpan, describe, type Operation, Recorder, type Reduction, specOf, type TensorSpec,
} from './calls.ts';
import { Work } from './work.ts';

/** One message of sendReceive, from this rank or to it; `to` and `receiveFrom` are ranks of the group. */
export type Transfer = Sending | Receiving;

/** A message from this rank. */
export interface Sending {
  /** What is sent; it stays the caller's. */ readonly send: Tensor;
  /** A rank of the group. */ readonly to: number;
}

/** A message to this rank. */
export interface Receiving {
  /** A rank of the group. */ readonly receiveFrom: number;
  /** What it will be. */ readonly like: TensorSpec;
}

/** How a group's tensors travel: one rank's end of it. Inputs are checked, and held until the promise is settled. */
export interface Transport {
  /** Whether the ranks are coroutines of one process. */
  readonly isLocal?: boolean;
  /** Of all ranks' x, on each of them. */
  allReduce(x: Tensor, reduction: Reduction, call: Call): Promise<Tensor>;
  /** `sizes[r]` is what rank r brings along `axis`. */
  allGather(x: Tensor, axis: number, sizes: readonly number[], call: Call): Promise<Tensor>;
  /** This rank's part of it, along `axis`. */
  reduceScatter(x: Tensor, reduction: Reduction, axis: number, call: Call): Promise<Tensor>;
  /** The root's x. */
  broadcast(x: Tensor, root: number, call: Call): Promise<Tensor>;
  /** From each rank its part for this one, joined along `axis`. */
  allToAll(x: Tensor, axis: number, call: Call): Promise<Tensor>;
  /** What was received, in the order of the receives among `transfers`. */
  sendReceive(transfers: readonly Transfer[], call: Call): Promise<Tensor[]>;
  /** Ends when all ranks have called it. */ barrier(call: Call): Promise<void>;
  /** A transport among `members`: ranks of this group, in their new order, this rank among them. All ranks call it. */
  subset(members: readonly number[], call: Call): Promise<Transport>;
  /** Somebody awaits `call`. */
  waiting(call: Call): void;
  /** Where results are promised before a device has computed them: ends when it has. */
  drained?(): Promise<void>;
  /** Where collectives run on a GPU: takes the times of all groups' there until what it returns is called. */
  timeCalls?(base: number): () => DeviceSpan[];
  /** Lets go of it. */ close(): Promise<void>;
}

/** What travels; bool does not. */
const DTYPES = ['float32', 'bfloat16', 'int32'];

/** What a group is made of. */
export interface GroupOptions {
  /** 'world', 'tp': as errors and reports name it. */ readonly name: string;
  /** This rank's place in the group, from 0. */ readonly rank: number;
  /** World ranks of the members, in the group's order. */
  readonly ranks: readonly number[];
  /** Where calls are counted; default: a recorder of its own. */ readonly recorder?: Recorder;
  /** Needed by groups of two and more. */
  readonly transport?: Transport | undefined;
}

/** A group of ranks, as this one of them sees it. */
export class ProcessGroup {
  /** 'world', 'tp': as errors and reports name it. */ readonly name: string;
  /** This rank's place in the group, from 0. */
  readonly rank: number;
  /** World ranks of the members, in the group's order. */ readonly ranks: readonly number[];
  /** Where its calls are counted, with those of the rank's other groups. */ readonly recorder: Recorder;
  /** Whom to tell this rank's place in the mesh, once it has one: the launcher shows it before the rank's output. */
  onPlace: ((label: string) => void) | undefined;
  readonly #transport: Transport | undefined;
  /** The other ranks of the group. */
  readonly #others: readonly number[];

  constructor({ name, rank, ranks, recorder = new Recorder(), transport }: GroupOptions) {
    if (ranks.length > 1 && !transport) throw new Error(`group ${name} of ${ranks.length} ranks needs a transport`);
    this.name = name;
    this.rank = rank;
    this.ranks = ranks;
    this.recorder = recorder;
    this.#transport = transport;
    this.#others = ranks.map((_, r) => r).filter((r) => r !== rank);
  }

  /** How many ranks it has. */ get size(): number {
    return this.ranks.length;
  }

  /** Whether its ranks are coroutines of this process. */
  get isLocal(): boolean {
    return this.#transport?.isLocal ?? this.size === 1;
  }

  /** The sum, mean or largest of all ranks' x, element by element: of x's shape and dtype. */
  allReduce(x: Tensor, reduction: Reduction = 'sum'): Promise<Tensor> {
    checkReduction(x, reduction);
    const text = `allReduce(${reduction}) of ${describe(specOf(x))}`;
    return this.#start('allReduce', text, [x], (transport, call) => transport.allReduce(x, reduction, call));
  }

  /** All ranks' x side by side along `axis`. Where they are not equally long there, `sizes` says how long each is. */
  allGather(x: Tensor, axis: number, sizes?: readonly number[]): Promise<Tensor> {
    checkAxis(x, axis);
    const lengths = sizes ?? this.ranks.map(() => x.shape[axis] as number);
    if (lengths.length !== this.size || lengths[this.rank] !== x.shape[axis])
      throw new Error(
        `allGather of ${describe(specOf(x))} along axis ${axis}: of ${this.size} sizes, rank ${this.rank}'s must be ` +
          `${x.shape[axis]}, but they are [${lengths}]`,
      );
    const { dtype, shape } = specOf(x);
    const sides = sizes ? shape.map((side, i) => (i === axis ? sizes.join('+') : side)) : shape;
    const text = `allGather(axis ${axis}) of ${dtype} [${sides}]`;
    return this.#start('allGather', text, [x], (transport, call) => transport.allGather(x, axis, lengths, call));
  }

  /** Part `rank` of allReduce's result, which is split along `axis` into as many equal parts as there are ranks. */
  reduceScatter(x: Tensor, axis: number, reduction: Reduction = 'sum'): Promise<Tensor> {
    checkReduction(x, reduction);
    this.#checkDivides(x, axis, 'reduceScatter');
    const text = `reduceScatter(${reduction}, axis ${axis}) of ${describe(specOf(x))}`;
    const run = (transport: Transport, call: Call) => transport.reduceScatter(x, reduction, axis, call);
    return this.#start('reduceScatter', text, [x], run);
  }

  /** The root's x; the others bring one of the same shape and dtype, whose values nobody reads. */
  broadcast(x: Tensor, root: number): Promise<Tensor> {
    this.#checkRank(root, 'broadcast');
    const text = `broadcast(root ${root}) of ${describe(specOf(x))}`;
    return this.#start('broadcast', text, [x], (transport, call) => transport.broadcast(x, root, call));
  }

  /** Splits x along `axis` into equal parts, gives part j to rank j, and joins what it got along the same axis. */
  allToAll(x: Tensor, axis: number): Promise<Tensor> {
    this.#checkDivides(x, axis, 'allToAll');
    const text = `allToAll(axis ${axis}) of ${describe(specOf(x))}`;
    return this.#start('allToAll', text, [x], (transport, call) => transport.allToAll(x, axis, call));
  }

  /**
   * Sends and receives, all at once: the k-th message that rank a sends to b is the k-th that b receives from a.
   * Returns what was received, in the order of the receives. It ends when all of that is there and what it sends has
   * been taken over: by the receiver, or over tcp by the network.
   */
  sendReceive(transfers: readonly Transfer[]): Promise<Tensor[]> {
    const words = transfers.map((transfer) => {
      const peer = peerOf(transfer);
      this.#checkRank(peer, 'sendReceive');
      if (peer === this.rank) throw new Error(`sendReceive: rank ${peer} of group ${this.name} can't send to itself`);
      return 'send' in transfer
        ? `${describe(specOf(transfer.send))} to rank ${peer}`
        : `${describe(transfer.like)} from rank ${peer}`;
    });
    if (transfers.length === 0) return Promise.resolve([]);
    const sent = transfers.flatMap((transfer) => ('send' in transfer ? [transfer.send] : []));
    const transport = this.#transport as Transport; // a group of one has no peers to name
    const run = (call: Call) => transport.sendReceive(transfers, call);
    const peers = [...new Set(transfers.map(peerOf))];
    return this.#run('sendReceive', `sendReceive(${words.join(', ')})`, sent, run, peers);
  }

  /** Ends when every rank of the group has called it. */
  barrier(): Promise<void> {
    const transport = this.#transport;
    if (!transport) return Promise.resolve();
    return this.#run('barrier', 'barrier', [], (call) => transport.barrier(call));
  }

  /**
   * Ranks that give the same color form a group, in the order of their keys, and of their ranks where keys are equal.
   * Every rank of this group must call it; color and key are int32. `name` is for the records: 'tp', 'dp'.
   */
  async split(color: number, key: number, name: string): Promise<ProcessGroup> {
    const { recorder } = this;
    const transport = this.#transport;
    if (!transport) return new ProcessGroup({ name, rank: 0, ranks: this.ranks, recorder });
    if (![color, key].every((number) => number === (number | 0)))
      throw new Error(`split of group ${this.name}: color ${color} and key ${key} must be whole numbers of 32 bits`);
    const mine = tf.tensor2d([[color, key]], [1, 2], 'int32');
    const splitting = this.#run('split', 'split', [mine], async (call) => {
      const gathered = await transport.allGather(mine, 0, Array(this.size).fill(1), call);
      const places = (await gathered.array()) as [number, number][];
      gathered.dispose();
      const same = places.flatMap(([theirs, order], rank) => (theirs === color ? [{ rank, order }] : []));
      const members = same.sort((a, b) => a.order - b.order || a.rank - b.rank).map(({ rank: member }) => member);
      const ranks = members.map((member) => this.ranks[member] as number);
      const subset = await transport.subset(members, call);
      const rank = members.indexOf(this.rank);
      return new ProcessGroup({ name, rank, ranks, recorder, transport: ranks.length > 1 ? subset : undefined });
    });
    mine.dispose();
    return splitting;
  }

  /**
   * Ends when the GPU has done what was enqueued. A rank on a GPU awaits it before it reads a tensor: reading blocks
   * its thread, which then doesn't hear of a peer that died, on whom the GPU may be waiting.
   */
  async drained(): Promise<void> {
    await this.#transport?.drained?.();
  }

  /**
   * Where collectives run on a GPU: takes the times of all of this rank's there, until the function that is returned is
   * called. They are milliseconds from a mark, `timeOps().base` of the runtime.
   */
  get timeCalls(): ((base: number) => () => DeviceSpan[]) | undefined {
    return this.#transport?.timeCalls?.bind(this.#transport);
  }

  /** Frees what the group holds. Closing the world's group says goodbye to its peers and closes their connections. */
  async close(): Promise<void> {
    await this.#transport?.close();
  }

  /** Runs a collective of one tensor; a group of one has its result at once, and counts nothing. */
  #start(
    operation: Operation,
    text: string,
    inputs: readonly [Tensor],
    run: (transport: Transport, call: Call) => Promise<Tensor>,
  ): Promise<Tensor> {
    const transport = this.#transport;
    if (!transport) return Promise.resolve(share(inputs[0]));
    return this.#run(operation, text, inputs, (call) => run(transport, call));
  }

  #run<T>(
    operation: Operation,
    text: string,
    inputs: readonly Tensor[],
    run: (call: Call) => Promise<T>,
    peers: readonly number[] = this.#others,
  ): Promise<T> {
    for (const x of inputs)
      if (!DTYPES.includes(specOf(x).dtype)) throw new Error(`${text}: only ${DTYPES.join(', ')} travel`);
    const worldRanks = peers.map((peer) => this.ranks[peer] as number);
    const call = new Call(operation, text, this.name, worldRanks);
    const held = inputs.map(share); // alive until the end, whatever the caller does with its own
    const running = run(call).finally(() => {
      this.recorder.finish(call);
      tf.dispose(held);
    });
    return Work.of(running, () => {
      call.wait();
      this.#transport?.waiting(call);
    });
  }

  #checkRank(rank: number, operation: Operation): void {
    if (Number.isInteger(rank) && rank >= 0 && rank < this.size) return;
    throw new Error(`${operation}: group ${this.name} has ranks 0 to ${this.size - 1}, not ${rank}`);
  }

  #checkDivides(x: Tensor, axis: number, operation: Operation): void {
    checkAxis(x, axis);
    if ((x.shape[axis] as number) % this.size === 0) return;
    throw new Error(`${operation}: ${this.size} ranks don't divide axis ${axis} of ${describe(specOf(x))}`);
  }
}

/** The other end of a message. */
const peerOf = (transfer: Transfer): number => ('send' in transfer ? transfer.to : transfer.receiveFrom);

/** Before anything is sent. */
function checkAxis(x: Tensor, axis: number): void {
  if (Number.isInteger(axis) && axis >= 0 && axis < x.rank) return;
  throw new Error(`a tensor of shape [${x.shape}] has no axis ${axis}`);
}

/** The same. */
function checkReduction(x: Tensor, reduction: Reduction): void {
  if (reduction === 'mean' && x.dtype === 'int32') throw new Error('the mean of int32 tensors is no int32: use sum');
}
