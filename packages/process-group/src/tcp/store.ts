/**
 * Where ranks meet that know only one address: rank 0's.
 *
 *     rank 0:  const store = await serveStore({ host, port, secret, worldSize, attempt, timeoutMs })
 *     rank 2:  const store = await dialStore({ host, port, secret, rank: 2, worldSize, attempt, timeoutMs })
 *              await store.set('address/2', '10.0.0.3:41271')    // where my peers find me
 *              await store.get('address/1', 1)                   // answered as soon as rank 1 has set it
 *
 * Values can be asked for before they are there; that is all it takes to meet. Rank 0 keeps the board of board.ts; the
 * others, once they have shown that they know the secret, write and read it by the messages of json-lines.ts. PyTorch's
 * TCPStore is the same thing.
 *
 * Nobody shall wait for what can't come: when a rank leaves, those who wait for a value of its get an error, and when
 * rank 0 goes, all do. So rank 0 closes its store last, when all have what they need.
 */
import { type AddressInfo, connect, createServer, isIPv6, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, RunError, UserError } from '@fourfold/runtime/errors';
import { Board, wasSet } from './board.ts';
import {
  checkSecret,
  guard,
  HANDSHAKE_MS,
  type Hello,
  inTime,
  introduce,
  Stranger,
  socketStream,
  within,
} from './handshake.ts';
import { lineOf, type Message, messages } from './json-lines.ts';

/** The board, from any rank. */
export interface Store {
  /** Resolves when rank 0 has it. A value that was there is replaced. */
  set(key: string, value: string): Promise<void>;
  /** The value, once it is there. `owner` is the rank that is to set it: if that leaves first, waiting ends at once. */
  get(key: string, owner?: number): Promise<string>;
  /** The address by which this rank reached the store; rank 0: where it serves it. */
  readonly localAddress: string;
  close(): Promise<void>;
}

/** Where the store is, and of which world. */
export interface StoreOptions {
  readonly host: string;
  readonly port: number;
  readonly secret: string;
  readonly worldSize: number;
  readonly attempt: number;
  /** How long to dial, and to wait for a value. */
  readonly timeoutMs: number;
}

/** The same for who dials. */
export interface DialOptions extends StoreOptions {
  readonly rank: number;
}

/**
 * Serves the store, as rank 0, at `host` only; port 0 takes a free one.
 *
 * @throws UserError where the port is taken, the host is not this machine, or the secret won't do
 */
export async function serveStore(options: StoreOptions): Promise<Store & { readonly port: number }> {
  checkSecret(options.secret, options.host);
  const store = new ServedStore(options);
  await store.listen();
  return store;
}

/** Rank 0's own end: the board itself, and a connection to each of the others. */
class ServedStore implements Store {
  localAddress = '';
  port = 0;
  readonly #options: StoreOptions;
  readonly #board = new Board();
  readonly #members = new Map<number, Socket>();
  readonly #server: Server = createServer({ noDelay: true });
  readonly #sendStrangersAway: () => void;

  constructor(options: StoreOptions) {
    this.#options = options;
    this.#sendStrangersAway = guard(this.#server, {
      secret: options.secret,
      refuse: (hello, socket) => this.#refuse(hello, socket),
      enter: (socket) => void this.#serve(socket),
    });
  }

  async listen(): Promise<void> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => reject(whyNotListening(error, host, port)));
      this.#server.listen({ host, port }, resolve);
    });
    const { address, port: chosen } = this.#server.address() as AddressInfo; // a text for local pipes alone
    this.localAddress = address;
    this.port = chosen;
  }

  async set(key: string, value: string): Promise<void> {
    lineOf({ id: 0, key, value }); // the others must be able to read it
    this.#board.set(key, value);
  }

  get(key: string, owner?: number): Promise<string> {
    return patiently({ ...this.#options, rank: 0 }, key, owner, this.#board.get(key, owner));
  }

  /** Lets go of the port, and of all ranks once what they were sent is on its way. */
  async close(): Promise<void> {
    this.#board.close();
    this.#sendStrangersAway();
    for (const socket of this.#members.values()) socket.destroySoon();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #refuse({ purpose, rank, worldSize, attempt }: Hello, socket: Socket): string | undefined {
    const own = this.#options;
    if (purpose !== 'store') return `rank ${rank} looks for a peer where rank 0's store is`;
    if (attempt !== own.attempt) return `rank ${rank} is of attempt ${attempt} of this run, rank 0 of ${own.attempt}`;
    if (worldSize !== own.worldSize)
      return `rank ${rank} was started with WORLD_SIZE=${worldSize}, rank 0 with ${own.worldSize}`;
    if (rank >= worldSize) return `RANK=${rank} is out of range for WORLD_SIZE=${worldSize}: use 0 to ${worldSize - 1}`;
    if (rank === 0 || this.#members.has(rank))
      return `rank ${rank} is connected already: give each process a RANK of its own`;
    this.#members.set(rank, socket);
    this.#board.come(rank);
    socket.once('close', () => {
      this.#members.delete(rank);
      this.#board.leave(rank);
    });
    return undefined;
  }

  async #serve(socket: Socket): Promise<void> {
    try {
      for await (const message of messages(socket)) this.#answer(socket, message);
    } catch {
      socket.destroy(); // the connection broke, or a line makes no sense
    }
  }

  #answer(socket: Socket, { id, key, value, owner }: Message): void {
    const send = (answer: Message) => {
      if (!socket.destroyed) socket.write(lineOf(answer));
    };
    if (key === undefined) throw new Error('a request without a key');
    if (value !== undefined) {
      this.#board.set(key, value);
      send({ id });
      return;
    }
    this.#board.get(key, owner).then(
      (found) => send({ id, value: found }),
      (error) => send({ id, error: messageOf(error) }),
    );
  }
}

/** Waits for `value`, and says who waited for what where it doesn't come. */
function patiently<T>(
  { rank, timeoutMs }: { readonly rank: number; readonly timeoutMs: number },
  key: string,
  owner: number | undefined,
  value: Promise<T>,
): Promise<T> {
  const named = value.catch((error: unknown) => {
    throw new Error(`rank ${rank}: ${messageOf(error)}`);
  });
  const inVain = `${wasSet(key, owner, 'was not')} within ${timeoutMs / 1000} s`;
  return inTime(timeoutMs, named, () => new UserError(`rank ${rank}: ${inVain}: are all ranks running?`));
}

/** What the user can mend about a port that can't be had. */
function whyNotListening(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const trouble: Record<string, string> = {
    EADDRINUSE: `${at(host, port)} is taken by another program: choose another MASTER_PORT`,
    EADDRNOTAVAIL: `${host} is no address of this machine, where rank 0 runs: set MASTER_ADDR to one that is`,
    ENOTFOUND: noSuchHost(host),
    EAI_AGAIN: noSuchHost(host),
    EACCES: `port ${port} is kept for the system: choose a MASTER_PORT from 1024 to 65535`,
  };
  const sentence = trouble[error.code ?? ''];
  return sentence ? new UserError(sentence) : error;
}

/** Host and port in one word. */
const at = (host: string, port: number): string => `${isIPv6(host) ? `[${host}]` : host}:${port}`;

/** Said at once: a name that nobody knows will not come by waiting. */
const noSuchHost = (host: string): string => `no host is called ${host}: set MASTER_ADDR to rank 0's name or address`;

/**
 * Finds rank 0's store, and waits for it where rank 0 is not up yet.
 *
 * @throws UserError where nobody answers in time, somebody else answers, or rank 0 refuses this rank
 */
export async function dialStore(options: DialOptions): Promise<Store> {
  const { host, port, secret, rank, timeoutMs } = options;
  checkSecret(secret, host);
  const deadline = performance.now() + timeoutMs;
  for (let pause = 20; ; pause = Math.min(2 * pause, 200)) {
    const left = deadline - performance.now();
    const trouble = await knock(options, Math.min(HANDSHAKE_MS, left)).catch((error: unknown) => error as Error);
    if (!(trouble instanceof Error)) return trouble;
    if (trouble instanceof UserError) throw trouble;
    if (trouble instanceof Stranger) throw notRankZero(options, trouble);
    await sleep(pause);
    if (deadline - performance.now() > pause) continue; // else a try would fail for want of time, and hide the reason
    if ((trouble as NodeJS.ErrnoException).code === 'ENOTFOUND')
      throw new UserError(`rank ${rank}: ${noSuchHost(host)}`);
    const waited = `no answer from ${at(host, port)} within ${timeoutMs / 1000} s`;
    throw new UserError(`rank ${rank}: ${waited}: is rank 0 running, and is the port open?`);
  }
}

/** What answers at the address is none of ours. */
function notRankZero({ rank, host, port }: DialOptions, { message }: Stranger): Error {
  const hint = 'check MASTER_PORT, and that FOURFOLD_SECRET is the same on every host';
  return new UserError(`rank ${rank}: what answers at ${at(host, port)} is not rank 0, ${message}: ${hint}`);
}

/**
 * Tries once, for `ms` milliseconds.
 *
 * @throws Stranger where somebody else answers, UserError where rank 0 refuses, Error where nobody answers
 */
export async function knock(options: DialOptions, ms: number): Promise<Store> {
  const { host, port, secret, rank, worldSize, attempt } = options;
  const socket = connect({ host, port, noDelay: true });
  await within(ms, socket, introduce(socketStream(socket), secret, { purpose: 'store', rank, worldSize, attempt }));
  return new RemoteStore(socket, options);
}

/** Another rank's end: requests with numbers, and answers in any order. */
class RemoteStore implements Store {
  readonly localAddress: string;
  readonly #socket: Socket;
  readonly #options: DialOptions;
  /** What to do with the answers to come, by the numbers of their requests. */
  readonly #pending = new Map<number, (answer: Message | undefined) => void>();
  #requests = 0;

  constructor(socket: Socket, options: DialOptions) {
    this.localAddress = socket.localAddress ?? '';
    this.#socket = socket;
    this.#options = options;
    void this.#listen();
  }

  async set(key: string, value: string): Promise<void> {
    await this.#ask({ key, value });
  }

  async get(key: string, owner?: number): Promise<string> {
    const value = await this.#ask(owner === undefined ? { key } : { key, owner });
    return value ?? '';
  }

  async close(): Promise<void> {
    if (this.#socket.destroyed) return;
    const closed = new Promise((resolve) => this.#socket.once('close', resolve));
    this.#socket.destroySoon();
    await closed;
  }

  async #ask(request: { readonly key: string; readonly value?: string; readonly owner?: number }) {
    const { key, owner } = request;
    const id = this.#requests++;
    const line = lineOf({ id, ...request });
    const answer = new Promise<string | undefined>((resolve, reject) => {
      const store = `rank 0's store at ${at(this.#options.host, this.#options.port)}`;
      const settle = (message: Message | undefined) => {
        if (!message) reject(new RunError(`${store} closed before ${wasSet(key, owner)}`));
        else if (message.error !== undefined) reject(new RunError(message.error));
        else resolve(message.value);
      };
      if (this.#socket.destroyed) return settle(undefined);
      this.#pending.set(id, settle);
      this.#socket.write(line);
    });
    return patiently(this.#options, key, owner, answer);
  }

  /** Gives each answer to who waits for it; at the end, those who still wait learn that nothing comes. */
  async #listen(): Promise<void> {
    try {
      for await (const message of messages(this.#socket)) {
        this.#pending.get(message.id)?.(message);
        this.#pending.delete(message.id);
      }
    } catch {
      this.#socket.destroy();
    }
    for (const settle of this.#pending.values()) settle(undefined);
  }
}
