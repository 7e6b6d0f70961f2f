/**
 * One rank's end of the mesh: a connection to every other rank, and what happens when one of them is lost.
 *
 *     1. every rank listens on a port of its own and tells the store its address
 *     2. it asks the store for the others' addresses and dials them; they dial it
 *     3. once both directions stand for every peer, it listens no more
 *
 * Failure. A run can't go on without one of its ranks, so the first thing that goes wrong ends it everywhere: a rank
 * that stops tells its peers why; one that is killed is noticed because its connections close; one that hangs, because
 * somebody waits for it longer than the time-out. Every wait then fails with one sentence that names the rank. So it is
 * from the first connection on: a rank that is lost while others are still to come ends the meeting at once.
 */
import net from 'node:net';
import { messageOf, RunError, UserError } from '@fourfold/runtime/errors';
import { Connection, type Lane } from './connection.ts';
import { guard, type Hello, inTime, introduce, within } from './handshake.ts';
import { Inlet } from './inlet.ts';
import { Scratch } from './scratch.ts';
import type { Store } from './store.ts';

/** Who this rank is, and how it finds the others. */
export interface EndpointOptions {
  readonly rank: number;
  readonly worldSize: number;
  readonly attempt: number;
  readonly secret: string;
  readonly store: Store;
  /** Milliseconds, for meeting. */
  readonly meetingTimeout: number;
  /** Milliseconds that a collective may wait for a peer. */
  readonly timeout: number;
}

/** The lane of last words. */
const control = (kind: 'goodbye' | 'failure'): Lane => ({ kind, group: 0, number: 0 });

/** One rank's connections. What goes wrong on one of them ends all, with the first cause in words. */
export class Endpoint {
  readonly rank: number;
  readonly scratch = new Scratch();
  readonly #connections = new Map<number, Connection>();
  readonly #timeout: number;
  readonly #gone = new Set<number>();
  readonly #groups = new Map<number, string>();
  readonly #clock: NodeJS.Timeout;
  readonly #onStop: ((error: Error) => void)[] = [];
  #failing: Promise<void> | undefined;
  #failure: Error | undefined;
  #closing = false;

  constructor(rank: number, timeout: number) {
    this.rank = rank;
    this.#timeout = timeout;
    this.#clock = setInterval(() => this.#checkTime(), Math.min(1000, timeout / 4)).unref();
  }

  /** Adds the connection to a rank of the world: `inlet` is the one that this rank dialed, `outlet` the peer. */
  connect(peer: number, inlet: Inlet, outlet: net.Socket): void {
    const events = {
      goodbye: () => void this.#gone.add(peer),
      failed: (words: string) => void this.#stopped(new RunError(blaming(words, peer))),
      broken: (why: string) => this.#lost(peer, why),
    };
    this.#connections.set(peer, new Connection(inlet, outlet, events));
  }

  /** The connection to a rank of the world. */
  to(peer: number): Connection {
    const connection = this.#connections.get(peer);
    if (!connection) throw new Error(`rank ${this.rank} is not connected to rank ${peer}`);
    return connection;
  }

  /** The error that ended the run, if any. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Calls `listener` when a peer, or the time, has ended the run. */
  onStop(listener: (error: Error) => void): void {
    this.#onStop.push(listener);
  }

  /**
   * A group's number on the wire, made of its name, which all its members derive alike. Two names that give one number
   * (of a million pairs of groups, one in four thousand has such) can't be told apart and are refused.
   */
  groupNumber(name: string): number {
    let hash = 0x811c9dc5; // FNV-1a
    for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
    const other = this.#groups.get(hash);
    if (other !== undefined && other !== name) throw new Error(`groups ${name} and ${other} have the same number`);
    this.#groups.set(hash, name);
    return hash;
  }

  /** Ends the run: fails every wait, and tells the peers why. The first error is the one that counts. */
  fail(error: Error): Promise<void> {
    if (this.#closing) return Promise.resolve();
    this.#failing ??= this.#end(error);
    return this.#failing;
  }

  async #end(error: Error): Promise<void> {
    this.#failure = error;
    clearInterval(this.#clock);
    for (const connection of this.#connections.values()) connection.fail(error);
    await this.#part('failure', error.message);
  }

  /** Something outside this rank ended the run. */
  async #stopped(error: Error): Promise<void> {
    if (this.#closing || this.#failure) return;
    await this.fail(error);
    for (const listener of this.#onStop) listener(error);
  }

  /** Says goodbye. Peers that still wait for this rank will say that it has ended. */
  async close(): Promise<void> {
    if (this.#closing || this.#failure) return;
    this.#closing = true;
    clearInterval(this.#clock);
    await this.#part('goodbye', '');
    for (const connection of this.#connections.values()) connection.fail(new Error('this group is closed'));
  }

  async #part(kind: 'goodbye' | 'failure', words: string): Promise<void> {
    const bytes = new TextEncoder().encode(words.slice(0, 1000));
    const parting = [...this.#connections.values()].map((connection) => connection.finish(control(kind), bytes));
    const patience = new Promise((resolve) => setTimeout(resolve, 1000).unref()); // a stopped peer reads nothing
    await Promise.race([Promise.all(parting), patience]);
    for (const connection of this.#connections.values()) connection.destroy();
  }

  #lost(peer: number, why: string): void {
    if (this.#closing || this.#failure) return;
    const wait = this.to(peer).oldestWait();
    if (this.#gone.has(peer)) {
      if (wait)
        void this.#stopped(new RunError(`rank ${peer} has ended, and rank ${this.rank} waits for it in ${wait.what}`));
      return;
    }
    const doing = wait ? `; rank ${this.rank} was waiting for it in ${wait.what}` : '';
    void this.#stopped(died(peer, `${why}${doing}`));
  }

  #checkTime(): void {
    const late = [...this.#connections].flatMap(([peer, connection]) => {
      const wait = connection.oldestWait();
      return wait && performance.now() - wait.since >= this.#timeout ? [{ peer, ...wait }] : [];
    });
    // One that has not even called keeps the others too, so that we wait for them as well.
    const longest = late.find(({ lacks }) => lacks === 'call') ?? late[0];
    if (!longest) return;
    const { peer, what, lacks } = longest;
    const [other] = this.to(peer).unanswered();
    const called = other ? `has called ${other}` : 'has not called it';
    const there = { call: called, send: 'has called it, but not sent all of it', take: 'has not taken all of it' }[
      lacks
    ];
    const waited = `rank ${this.rank} waited ${this.#timeout / 1000} s for rank ${peer} in ${what}`;
    void this.#stopped(new RunError(`${waited}: rank ${peer} ${there}`));
  }
}

/** The error of a peer that went without a word. */
const died = (peer: number, why: string): Error => new RunError(`rank ${peer} died: ${why}`);

/** The first cause, however many ranks have passed it on: one that names no rank is the sender's own. */
const blaming = (words: string, peer: number): string =>
  /^rank \d/.test(words) ? words : `rank ${peer} stopped: ${words}`;

// ## Meeting
//
// Each pair of ranks meets by itself, and from then on looks after its connection as in the run to come: if one of the
// two dies, the other sees it at once; if one gives up, it says why, and so do all whom it has met.

/**
 * Connects this rank with all others; the store must be that of the same world.
 *
 * @throws UserError where one of them is not met in time; RunError where one is met, and lost before the last has come
 */
export async function openEndpoint(options: EndpointOptions): Promise<Endpoint> {
  const { rank, worldSize, store, meetingTimeout, timeout } = options;
  const others = Array.from({ length: worldSize }, (_, r) => r).filter((r) => r !== rank);
  const missing = new Set(others);
  const sockets: net.Socket[] = [];
  const server = await listen(store.localAddress);
  const { arrivals, sendAway } = acceptAll(server, options, others, sockets);
  const endpoint = new Endpoint(rank, timeout);
  const stopped = new Promise<never>((_, reject) => endpoint.onStop(reject));
  const meet = async (peer: number) => {
    const inlet = await dial(peer, options, sockets);
    endpoint.connect(peer, inlet, await unlessClosed(inlet, peer, arrivals.get(peer) as Promise<net.Socket>));
    missing.delete(peer);
  };
  try {
    const address = { host: store.localAddress, port: (server.address() as net.AddressInfo).port };
    await store.set(keyOf(rank), JSON.stringify(address));
    await inTime(meetingTimeout, Promise.race([Promise.all(others.map(meet)), stopped]), () => {
      const names = [...missing].join(' and ');
      return new UserError(`rank ${rank} did not meet rank ${names} within ${meetingTimeout / 1000} s`);
    });
  } catch (error) {
    await endpoint.fail(error as Error);
    for (const socket of sockets) socket.destroy(); // also of those that were met one way only
    throw endpoint.failure;
  } finally {
    sendAway();
    server.close();
  }
  return endpoint;
}

/** Where on the store's board a rank's address is. */
const keyOf = (rank: number): string => `address of rank ${rank}`;

/** A server on a free port of this host. */
function listen(host: string): Promise<net.Server> {
  return new Promise((resolve, reject) => {
    const server = net.createServer({ noDelay: true, keepAlive: true });
    server.once('error', (error) => reject(new UserError(`no port can be opened on ${host}: ${messageOf(error)}`)));
    server.listen(0, host, () => resolve(server));
  });
}

/** Lets in each of the other ranks once. Strangers stay outside and change nothing. */
function acceptAll(
  server: net.Server,
  { secret, worldSize, attempt }: EndpointOptions,
  others: readonly number[],
  sockets: net.Socket[],
): { arrivals: ReadonlyMap<number, Promise<net.Socket>>; sendAway: () => void } {
  const doors = new Map<number, (socket: net.Socket) => void>();
  const arrival = (peer: number) => new Promise<net.Socket>((resolve) => doors.set(peer, resolve));
  const arrivals = new Map(others.map((peer) => [peer, arrival(peer)]));
  const known = new Set<number>();
  const refuse = (hello: Hello) => {
    if (hello.purpose !== 'peer' || hello.worldSize !== worldSize || hello.attempt !== attempt) return 'another run';
    if (!others.includes(hello.rank) || known.has(hello.rank)) return `rank ${hello.rank} is here already`;
    known.add(hello.rank);
    return undefined;
  };
  const enter = (socket: net.Socket, { rank }: Hello) => {
    sockets.push(socket);
    doors.get(rank)?.(socket);
  };
  return { arrivals, sendAway: guard(server, { secret, refuse, enter }) };
}

/** Dials a peer; `sockets` gets the connection at once, for whoever has to give up. */
async function dial(peer: number, options: EndpointOptions, sockets: net.Socket[]): Promise<Inlet> {
  const { rank, worldSize, attempt, secret, store, meetingTimeout } = options;
  const { host, port } = JSON.parse(await store.get(keyOf(peer), peer)) as { host: string; port: number };
  const inlet = new Inlet(host, port);
  sockets.push(inlet.socket);
  try {
    await within(meetingTimeout, inlet.socket, introduce(inlet, secret, { purpose: 'peer', rank, worldSize, attempt }));
  } catch (error) {
    throw new UserError(`rank ${rank} can't reach rank ${peer} at ${host}:${port}: ${messageOf(error)}`);
  }
  return inlet;
}

/** The peer's call, unless it goes before: who has answered ours, and closes, won't call any more. */
function unlessClosed(inlet: Inlet, peer: number, arrival: Promise<net.Socket>): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    inlet.socket.once('close', () => reject(died(peer, 'its connection closed')));
    void arrival.then(resolve);
  });
}
