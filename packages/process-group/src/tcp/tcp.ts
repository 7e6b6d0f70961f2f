/**
 * Collectives between processes, on one host or several.
 *
 * Every pair of ranks is connected, so all can send at once. The all-reduce of n ranks cuts a tensor into n parts:
 *
 *     reduce-scatter    rank r gets part r of everybody, and adds them up in rank order: ((x0 + x1) + x2) + ...
 *     all-gather        rank r sends its sum to everybody
 *
 * Each rank sends 2 (n-1)/n of the tensor, as in a ring (ring.ts), but in two steps instead of 2 (n-1), and each sum is
 * taken once and in the order that the local transport has: the same bits. A small tensor goes whole to everybody, who
 * add up for themselves: more bytes, and one step.
 */
import { blank, bytesOf, fold, type Lent, memoryOf } from '@fourfold/runtime/bytes';
import { BYTES, type DType, dtypeOf } from '@fourfold/runtime/tensorflow';
import type { Tensor } from '@tensorflow/tfjs-core';
import { type Call, describe, type Reduction, specOf } from '../calls.ts';
import type { Receiving, Sending, Transfer, Transport } from '../process-group.ts';
import { divided } from '../tensors.ts';
import { bytesOf as bytesIn, partStart, slicesOf } from '../traffic.ts';
import type { Lane } from './connection.ts';
import type { Endpoint } from './endpoint.ts';
import { cut, join } from './parts.ts';
import { ringAllReduce } from './ring.ts';
import { chunksOf, type Members, Round } from './round.ts';
import type { Scratch } from './scratch.ts';
import { type WireName, wireFor } from './wire.ts';

/**
 * Up to so many bytes an all-reduce is one exchange of everything. On loopback, with 2 and 4 ranks, that took 0.5 to
 * 1.1 of the time of two steps, from 16 to 256 KB. The limit is lower because between machines the bytes count too: a
 * rank of n sends n/2 times as many.
 */
export const SMALL = 1 << 17;

/** The name of the group of all ranks. */
export const WORLD = 'world';

/** How sums are taken, and how numbers travel. */
export interface TcpOptions {
  /** Default 'direct'. A ring takes its sums in another order than local does. */
  readonly algorithm?: 'direct' | 'ring';
  /** Default 'plain'. */
  readonly wire?: WireName;
}

/** One group's collectives over the endpoint's connections: each call is a lane of its own, so calls may overlap. */
export class TcpTransport implements Transport {
  readonly #endpoint: Endpoint;
  readonly #name: string;
  readonly #members: Members;
  readonly #options: Required<TcpOptions>;
  readonly #group: number;
  readonly #sentTo = new Map<number, number>();
  readonly #receivedFrom = new Map<number, number>();
  #calls = 0;
  #subsets = 0;

  /** `name` is the group's own: the same on all members, and no other group's. */
  constructor(endpoint: Endpoint, name: string, members: Members, options: TcpOptions = {}) {
    this.#endpoint = endpoint;
    this.#name = name;
    this.#members = members;
    this.#options = { algorithm: options.algorithm ?? 'direct', wire: options.wire ?? 'plain' };
    this.#group = endpoint.groupNumber(name);
  }

  /** A large tensor goes in slices, each an all-reduce of its own, of which the next begins before one has ended. */
  async allReduce(x: Tensor, reduction: Reduction, call: Call): Promise<Tensor> {
    const { shape, dtype } = specOf(x);
    const bytes = bytesIn({ shape, dtype });
    const isRing = this.#options.algorithm === 'ring';
    const way = isRing ? ringAllReduce : bytes <= SMALL ? exchangeAll : reduceDirectly;
    const slices = slicesOf(bytes);
    // Begun before anything is awaited: so every rank counts them in the order of its calls.
    const rounds = slices.map(() => this.#round(call, x));
    const from = await memoryOf(x);
    const out = blank(shape, dtype);
    let before: Promise<void> | undefined;
    for (const [i, [start, end]] of slices.entries()) {
      const slice: Slice = { x: from.part(start, end), out: out.part(start, end) };
      const reducing = this.#reduce(way, slice, rounds[i] as Round, reduction, dtype);
      reducing.catch(() => {}); // awaited below, unless the slice before it fails too
      await before;
      before = reducing;
    }
    await before;
    return isRing && reduction === 'mean' ? divided(out.finish(), this.#members.ranks.length) : out.finish();
  }

  async #reduce(way: Way, { x, out }: Slice, round: Round, reduction: Reduction, dtype: DType): Promise<void> {
    const { scratch } = this.#endpoint;
    await way({ round, x: x.view, out: out.view, dtype, reduction, members: this.#members, scratch });
    await round.sent();
    x.giveBack();
    out.giveBack();
  }

  async allGather(x: Tensor, axis: number, sizes: readonly number[], call: Call): Promise<Tensor> {
    const round = this.#round(call, x);
    const { view, giveBack } = await bytesOf(x);
    const { views, finish } = join(x.shape, axis, sizes, dtypeOf(x));
    round.send(round.peers, view, views[this.#members.rank]);
    await Promise.all(round.peers.flatMap((peer) => round.receive(peer, views[peer] as Uint8Array)));
    await round.met(); // also with those who bring nothing
    await round.sent();
    giveBack();
    return finish();
  }

  async reduceScatter(x: Tensor, reduction: Reduction, axis: number, call: Call): Promise<Tensor> {
    const { shape, dtype } = specOf(x);
    const { rank, ranks } = this.#members;
    const round = this.#round(call, x);
    const { views, giveBack } = await cut(x, axis, ranks.length);
    const out = blank(
      shape.map((side, i) => (i === axis ? side / ranks.length : side)),
      dtype,
    );
    for (const peer of round.peers) round.send([peer], views[peer] as Uint8Array);
    const { scratch } = this.#endpoint;
    const own = views[rank] as Uint8Array;
    await reduceArriving({ round, x: own, out: out.view, dtype, reduction, members: this.#members, scratch });
    await round.met(); // also where there is nothing to send
    await round.sent();
    giveBack();
    return out.finish();
  }

  async broadcast(x: Tensor, root: number, call: Call): Promise<Tensor> {
    const { shape, dtype } = specOf(x);
    const round = this.#round(call, x);
    const out = blank(shape, dtype);
    const lent = this.#members.rank === root ? await bytesOf(x) : undefined;
    if (lent) round.send(round.peers, lent.view, out.view);
    else await Promise.all(round.receive(root, out.view));
    await round.met();
    await round.sent();
    lent?.giveBack();
    return out.finish();
  }

  async allToAll(x: Tensor, axis: number, call: Call): Promise<Tensor> {
    const { rank, ranks } = this.#members;
    const length = (x.shape[axis] as number) / ranks.length;
    const round = this.#round(call, x);
    const { views, giveBack } = await cut(x, axis, ranks.length);
    const joint = join(x.shape, axis, Array(ranks.length).fill(length), dtypeOf(x));
    joint.views[rank]?.set(views[rank] as Uint8Array);
    for (const peer of round.peers) round.send([peer], views[peer] as Uint8Array);
    await Promise.all(round.peers.flatMap((peer) => round.receive(peer, joint.views[peer] as Uint8Array)));
    await round.met();
    await round.sent();
    giveBack();
    return joint.finish();
  }

  async sendReceive(transfers: readonly Transfer[], call: Call): Promise<Tensor[]> {
    const work = transfers.map((one) => ('send' in one ? this.#send(one, call) : this.#receive(one, call)));
    return (await Promise.all(work)).filter((received) => received !== undefined);
  }

  async barrier(call: Call): Promise<void> {
    await this.#round(call).met();
  }

  async subset(members: readonly number[]): Promise<Transport> {
    const ranks = members.map((member) => this.#members.ranks[member] as number);
    const name = `${this.#name}/${this.#subsets++}:${ranks}`;
    return new TcpTransport(this.#endpoint, name, { ranks, rank: members.indexOf(this.#members.rank) }, this.#options);
  }

  waiting(): void {}

  /** The world's group has the connections; a part of it has nothing of its own. */
  async close(): Promise<void> {
    if (this.#name === WORLD) await this.#endpoint.close();
  }

  /** Begins this group's next collective: tells every peer what it is, and expects the same of them. */
  #round(call: Call, x?: Tensor): Round {
    const lane = { kind: 'call', group: this.#group, number: this.#calls++ } as const;
    const round = this.#roundOn(lane, call, x ? dtypeOf(x) : 'float32');
    round.announce(round.peers, call.text);
    round.expect(round.peers, call.text, ['calls', 'calls']);
    return round;
  }

  #roundOn(lane: Lane, call: Call, dtype: DType): Round {
    const wire = wireFor(this.#options.wire, dtype);
    return new Round({ endpoint: this.#endpoint, members: this.#members, lane, call, wire });
  }

  /** The lane of the next message to or from a peer: both ends count them alike. */
  #messageLane(counts: Map<number, number>, peer: number): Lane {
    const number = counts.get(peer) ?? 0;
    counts.set(peer, number + 1);
    return { kind: 'message', group: this.#group, number };
  }

  async #send({ send, to }: Sending, call: Call): Promise<undefined> {
    const spec = specOf(send);
    const round = this.#roundOn(this.#messageLane(this.#sentTo, to), call, spec.dtype);
    round.announce([to], describe(spec));
    const { view, giveBack } = await bytesOf(send);
    round.send([to], view);
    await round.sent();
    giveBack();
  }

  async #receive({ receiveFrom: from, like }: Receiving, call: Call): Promise<Tensor> {
    const round = this.#roundOn(this.#messageLane(this.#receivedFrom, from), call, like.dtype);
    round.expect([from], describe(like), ['sends', 'receives']);
    const out = blank(like.shape, like.dtype);
    await round.met();
    await Promise.all(round.receive(from, out.view));
    return out.finish();
  }
}

// ## All-reduce, on bytes

/** A part of a tensor to reduce, and where it goes. */
interface Slice {
  readonly x: Lent;
  readonly out: Lent;
}

/** An all-reduce (or its first half) under way: of `x` into `out`. */
export interface Reducing {
  readonly round: Round;
  readonly x: Uint8Array;
  readonly out: Uint8Array;
  readonly dtype: DType;
  readonly reduction: Reduction;
  readonly members: Members;
  readonly scratch: Scratch;
}

/** One of the algorithms. */
type Way = (work: Reducing) => Promise<void>;

/** All send everything to all, and each adds up for itself. */
async function exchangeAll({ round, x, out, dtype, reduction, members, scratch }: Reducing): Promise<void> {
  const inputs = members.ranks.map(() => scratch.take(x.length));
  round.send(round.peers, x, inputs[members.rank]);
  await Promise.all(round.peers.flatMap((peer) => round.receive(peer, inputs[peer] as Uint8Array)));
  await round.met();
  fold(out, inputs, dtype, reduction);
  for (const input of inputs) scratch.giveBack(input);
}

/** Reduce-scatter, and all-gather of its results, which begins with the first chunk that has been added up. */
async function reduceDirectly(work: Reducing): Promise<void> {
  const { round, x, out, dtype, members } = work;
  const n = members.ranks.length;
  const count = x.length / BYTES[dtype];
  const part = (bytes: Uint8Array, place: number) => {
    const [from, to] = [partStart(count, place, n), partStart(count, place + 1, n)];
    return bytes.subarray(from * BYTES[dtype], to * BYTES[dtype]);
  };
  for (const peer of round.peers) round.send([peer], part(x, peer));
  const own = part(out, members.rank);
  const chunks = chunksOf(own);
  const onSum = (i: number) => round.send(round.peers, chunks[i] as Uint8Array, chunks[i]);
  const reducing = reduceArriving({ ...work, x: part(x, members.rank), out: own }, onSum);
  await Promise.all([reducing, ...round.peers.flatMap((peer) => round.receive(peer, part(out, peer)))]);
}

/** Receives every peer's bytes for `x`, and adds them up in rank order; `onSum` hears of each chunk of `out`. */
async function reduceArriving(work: Reducing, onSum: (chunk: number) => void = () => {}): Promise<void> {
  const { round, x, out, dtype, reduction, members, scratch } = work;
  const inputs = members.ranks.map((_, place) => (place === members.rank ? x : scratch.take(x.length)));
  const arrivals = round.peers.map((peer) => round.receive(peer, inputs[peer] as Uint8Array));
  const chunks = inputs.map(chunksOf);
  for (const [i, sum] of chunksOf(out).entries()) {
    await Promise.all(arrivals.map((arrival) => arrival[i]));
    const parts = chunks.map((ofRank) => ofRank[i] as Uint8Array);
    fold(sum, parts, dtype, reduction);
    onSum(i);
  }
  for (const peer of round.peers) scratch.giveBack(inputs[peer] as Uint8Array);
}
