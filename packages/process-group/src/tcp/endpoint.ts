/**
 * One rank's end of the mesh: a connection to every other rank, and what happens when one of them is lost.
 *
 *     1. every rank listens on a port of its own and tells the store its address
 *     2. it asks the store for the others' addresses and dials them; they dial it
 *     3. once both directions stand for every peer, it listens no more
 *
 * Failure. A run can't go on without one of its ranks, so the first thing that goes wrong ends it everywhere: a rank
 * that stops tells its peers why; one that is killed is noticed because its connections close; one that hangs, because
 * somebody waits for it longer than the time-out. Every wait then fails with one sentence that names the rank.
 */
import net from 'node:net';
import { messageOf, RunError, UserError } from '@fourfold/runtime/errors';
import { Connection, type Lane } from './connection.ts';
import { guard, type Hello, inTime, introduce, within } from './handshake.ts';
import { Inlet } from './inlet.ts';
import { Scratch } from './scratch.ts';
import type { Store } from './store.ts';

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

const control = (kind: 'goodbye' | 'failure'): Lane => ({ kind, group: 0, number: 0 });

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

  constructor(rank: number, links: ReadonlyMap<number, { inlet: Inlet; outlet: net.Socket }>, timeout: number) {
    this.rank = rank;
    this.#timeout = timeout;
    for (const [peer, { inlet, outlet }] of links) {
      const events = {
        goodbye: () => void this.#gone.add(peer),
        failed: (words: string) => void this.#stopped(new RunError(blaming(words, peer))),
        broken: (why: string) => this.#lost(peer, why),
      };
      this.#connections.set(peer, new Connection(inlet, outlet, events));
    }
    this.#clock = setInterval(() => this.#checkTime(), Math.min(1000, timeout / 4)).unref();
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
    void this.#stopped(new RunError(`rank ${peer} died: ${why}${doing}`));
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

/** The first cause, however many ranks have passed it on: one that names no rank is the sender's own. */
const blaming = (words: string, peer: number): string =>
  /^rank \d/.test(words) ? words : `rank ${peer} stopped: ${words}`;

// ## Meeting

/**
 * Connects this rank with all others; the store must be that of the same world.
 *
 * @throws UserError where one of them is not met in time
 */
export async function openEndpoint(options: EndpointOptions): Promise<Endpoint> {
  const { rank, worldSize, store, meetingTimeout, timeout } = options;
  const others = Array.from({ length: worldSize }, (_, r) => r).filter((r) => r !== rank);
  const outlets = new Map<number, net.Socket>();
  const dialed: Inlet[] = [];
  const inlets = new Map<number, Inlet>();
  const server = await listen(store.localAddress);
  const accepting = acceptAll(server, options, others, outlets);
  try {
    const address = { host: store.localAddress, port: (server.address() as net.AddressInfo).port };
    await store.set(keyOf(rank), JSON.stringify(address));
    const dialing = Promise.all(others.map(async (peer) => inlets.set(peer, await dial(peer, options, dialed))));
    await inTime(meetingTimeout, Promise.all([accepting.done, dialing]), () => {
      const missing = others.filter((peer) => !inlets.has(peer) || !outlets.has(peer));
      return new UserError(`rank ${rank} did not meet rank ${missing.join(' and ')} within ${meetingTimeout / 1000} s`);
    });
  } catch (error) {
    for (const socket of [...outlets.values(), ...dialed.map((inlet) => inlet.socket)]) socket.destroy();
    throw error;
  } finally {
    accepting.sendAway();
    server.close();
  }
  const link = (peer: number) => ({ inlet: inlets.get(peer) as Inlet, outlet: outlets.get(peer) as net.Socket });
  return new Endpoint(rank, new Map(others.map((peer) => [peer, link(peer)])), timeout);
}

const keyOf = (rank: number): string => `address of rank ${rank}`;

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
  outlets: Map<number, net.Socket>,
): { done: Promise<void>; sendAway: () => void } {
  let sendAway = () => {};
  const done = new Promise<void>((resolve) => {
    if (others.length === 0) resolve();
    const known = new Set<number>();
    const refuse = (hello: Hello) => {
      if (hello.purpose !== 'peer' || hello.worldSize !== worldSize || hello.attempt !== attempt) return 'another run';
      if (!others.includes(hello.rank) || known.has(hello.rank)) return `rank ${hello.rank} is here already`;
      known.add(hello.rank);
      return undefined;
    };
    const enter = (socket: net.Socket, { rank }: Hello) => {
      outlets.set(rank, socket);
      if (outlets.size === others.length) resolve();
    };
    sendAway = guard(server, { secret, refuse, enter });
  });
  return { done, sendAway };
}

/** Dials a peer; `dialed` gets the connection at once, for whoever has to give up. */
async function dial(peer: number, options: EndpointOptions, dialed: Inlet[]): Promise<Inlet> {
  const { rank, worldSize, attempt, secret, store, meetingTimeout } = options;
  const { host, port } = JSON.parse(await store.get(keyOf(peer), peer)) as { host: string; port: number };
  const inlet = new Inlet(host, port);
  dialed.push(inlet);
  try {
    await within(meetingTimeout, inlet.socket, introduce(inlet, secret, { purpose: 'peer', rank, worldSize, attempt }));
  } catch (error) {
    throw new UserError(`rank ${rank} can't reach rank ${peer} at ${host}:${port}: ${messageOf(error)}`);
  }
  return inlet;
}
