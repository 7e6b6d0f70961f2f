/**
 * One collective under way over TCP: what this rank sends to each peer, and what it awaits.
 *
 * Every rank tells every other first what it has called, in words; a peer that has called something else is found by
 * the first frame, before any of its bytes is taken for numbers. Tensors travel in chunks, so that a sum can go out
 * while the rest still comes in.
 */
import type { Call } from '../calls.ts';
import type { Connection, Lane } from './connection.ts';
import type { Endpoint } from './endpoint.ts';
import type { Wire } from './wire.ts';

/**
 * Bytes of a chunk: small enough to pipeline, large enough that its header, system calls and promises don't matter. A
 * 64 MB all-reduce of 2 ranks took 53 ms with this, and 78 and 71 with twice and half as much, on a noisy machine.
 */
export const CHUNK = 1 << 19;

/** The members of a group as its transport sees them: world ranks, and this rank's place among them. */
export interface Members {
  readonly ranks: readonly number[];
  readonly rank: number;
}

/** Views of `view`, one after the other, each of at most a chunk. */
export function chunksOf(view: Uint8Array): Uint8Array[] {
  const count = Math.ceil(view.length / CHUNK);
  return Array.from({ length: count }, (_, i) => view.subarray(i * CHUNK, (i + 1) * CHUNK));
}

/** Which collective of which group, and how its numbers travel. */
export interface RoundOptions {
  readonly endpoint: Endpoint;
  readonly members: Members;
  readonly lane: Lane;
  readonly call: Call;
  readonly wire: Wire;
}

/** The collective's frames to and from each peer, each checked against what the peer has called. */
export class Round {
  readonly #options: RoundOptions;
  /** For each peer that was expected: the promise that it has called the same. */
  readonly #greetings = new Map<number, Promise<void>>();
  #unsent = 0;
  #allSent: (() => void) | undefined;

  constructor(options: RoundOptions) {
    this.#options = options;
  }

  /** Members of the group other than this one, by their place in it. */
  get peers(): number[] {
    const { ranks, rank } = this.#options.members;
    return ranks.map((_, place) => place).filter((place) => place !== rank);
  }

  /** Tells peers in words what is coming. */
  announce(peers: readonly number[], text: string): void {
    const words = new TextEncoder().encode(text);
    for (const peer of peers) this.#connection(peer).send(this.#options.lane, words);
  }

  /** Awaits such words of peers; `verbs` are what the error says: 'sends' for theirs, 'receives' for this rank's. */
  expect(peers: readonly number[], text: string, verbs: readonly [theirs: string, mine: string]): void {
    for (const peer of peers) {
      const greeting = this.#greet(peer, text, verbs);
      greeting.catch(() => {}); // whoever waits for it sees the error
      this.#greetings.set(peer, greeting);
    }
  }

  /** All peers that are expected have called the same. */
  async met(): Promise<void> {
    await Promise.all(this.#greetings.values());
  }

  /**
   * Sends `view`, in chunks, to peers; it must not change until `sent`. `keep`, where given, becomes what they get: the
   * same numbers, rounded where the wire rounds.
   */
  send(peers: readonly number[], view: Uint8Array, keep?: Uint8Array): void {
    const { wire } = this.#options;
    const chunks = chunksOf(view);
    const kept = keep === view ? chunks : keep && chunksOf(keep);
    for (const [i, chunk] of chunks.entries()) {
      const bytes = wire.encode(chunk);
      if (kept) wire.decode(bytes, kept[i] as Uint8Array);
      this.pass(peers, bytes);
    }
  }

  /** Sends a chunk as it travels: one that was received, and is passed on. */
  pass(peers: readonly number[], bytes: Uint8Array): void {
    const { lane, call } = this.#options;
    for (const peer of peers) {
      call.bytes += bytes.length;
      this.#unsent += 1;
      this.#connection(peer).send(lane, bytes, () => this.#wasSent(), this.#what());
    }
  }

  /** Fills `view` with what `peer` sends: for each chunk a promise, of its bytes as they travelled. */
  receive(peer: number, view: Uint8Array): Promise<Uint8Array>[] {
    const { wire, lane } = this.#options;
    const greeting = this.#greetings.get(peer);
    const arrive = async (chunk: Uint8Array): Promise<Uint8Array> => {
      await greeting;
      const bytes = wire.room(chunk);
      await this.#connection(peer).receive(lane, this.#what(), bytes);
      wire.decode(bytes, chunk);
      return bytes;
    };
    return chunksOf(view).map((chunk) => {
      const arrival = arrive(chunk);
      arrival.catch(() => {}); // where an earlier chunk failed, nobody comes to wait for this one
      return arrival;
    });
  }

  /** All that was sent has left this process: its memory may be used again. Throws where the run failed before. */
  async sent(): Promise<void> {
    if (this.#unsent === 0) return;
    await new Promise<void>((resolve) => {
      this.#allSent = resolve;
    });
    const { failure } = this.#options.endpoint; // which closes connections, and so ends what they were to send
    if (failure) throw failure;
  }

  #wasSent(): void {
    this.#unsent -= 1;
    if (this.#unsent === 0) this.#allSent?.();
  }

  #connection(place: number): Connection {
    const { endpoint, members } = this.#options;
    return endpoint.to(members.ranks[place] as number);
  }

  #what(): string {
    const { text, group } = this.#options.call;
    return `${text} (group ${group})`;
  }

  async #greet(peer: number, text: string, [theirs, mine]: readonly [string, string]): Promise<void> {
    const { endpoint, members, lane, call } = this.#options;
    const words = new TextDecoder().decode(await this.#connection(peer).receive(lane, this.#what()));
    if (words === text) return;
    const [me, other] = [members.rank, peer].map((place) => members.ranks[place]);
    const error = new Error(
      `rank ${me} ${mine} ${text}, but rank ${other} ${theirs} ${words.slice(0, 1000)} (group ${call.group})`,
    );
    void endpoint.fail(error);
    throw error;
  }
}
