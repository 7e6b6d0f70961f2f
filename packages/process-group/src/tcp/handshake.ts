/**
 * How two ends of a connection prove to each other that they know a shared secret, before either believes a word.
 *
 *     the end that dials                                     the end that accepts
 *     magic, 32 random bytes c                     <->       magic, 32 random bytes s
 *     HMAC(secret, 'client' s c)                    ->       compares
 *     compares                                     <-        HMAC(secret, 'server' s c)
 *     hello, HMAC(secret, 'hello' s c hello)        ->       compares, reads
 *                                                  <-        welcome, or why not
 *
 * The secret never travels, only keyed hashes of numbers that both have just drawn, so an answer that somebody recorded
 * is worth nothing next time. The words 'client', 'server', 'hello' keep one proof from serving as another: without
 * them, sending an end's own proof back to it would do. Who dials proves itself first, since anybody can dial, and a
 * stranger shall take nothing home from an end that listens. Up to the hello all sizes are fixed, so there is no length
 * to lie about.
 *
 * What follows the handshake is neither encrypted nor signed: it keeps strangers out, not those who own the network.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { isIPv4, type Server, type Socket } from 'node:net';
import { UserError } from '@fourfold/runtime/errors';

/** Bytes to and from the other end, in the counts that are asked for. */
export interface ByteStream {
  /** The next `count` bytes, none beyond. Rejects where the connection ends before. One read at a time. */
  read(count: number): Promise<Uint8Array>;
  /** Sends them. */
  write(bytes: Uint8Array): void;
}

/** What a connection is for: rank 0's store, two ranks of a run; a model's root and a worker, and lanes of theirs. */
const purposes = ['store', 'peer', 'root', 'lane'] as const;

/** What the end that dials says of itself. */
export interface Hello {
  /** What the connection is for. */
  readonly purpose: (typeof purposes)[number];
  /** Its world rank. */
  readonly rank: number;
  /** How many ranks it believes there are. */
  readonly worldSize: number;
  /** How often this run has been restarted: ranks of an earlier attempt must not meet those of this one. */
  readonly attempt: number;
}

/** The other end is none of ours: it speaks otherwise, or has another secret. */
export class Stranger extends Error {
  /** 'Stranger'. */
  override readonly name = 'Stranger';
}

/** Of these messages. Ends of two versions find so at their first bytes. */
const VERSION = 1;
const MAGIC = Buffer.from([...Buffer.from('FOURFLD'), VERSION]); // 8 bytes
const NONCE = 32; // bytes; so many random ones are never drawn twice
const PROOF = 32; // bytes of SHA-256
const MAX_TEXT = 512; // bytes of a hello, and of a refusal

/**
 * Introduces this end, which dialed.
 *
 * @throws Stranger where the other end is none of ours; UserError, in the other end's own words, where it refuses
 */
export async function introduce(stream: ByteStream, secret: string, hello: Hello): Promise<void> {
  const mine = randomBytes(NONCE);
  const theirs = await greet(stream, mine);
  // A connection to a port of one's own machine that nobody listens on can, rarely, meet itself.
  if (timingSafeEqual(mine, theirs)) throw new Error('it repeats what it hears');
  const prove = (label: string, text?: Uint8Array) => proof(secret, label, theirs, mine, text);
  stream.write(prove('client'));
  if (!timingSafeEqual(await stream.read(PROOF), prove('server'))) throw new Stranger('it does not know the secret');
  const { purpose, rank, worldSize, attempt } = hello;
  const text = Buffer.from(JSON.stringify({ purpose, rank, worldSize, attempt }));
  stream.write(Buffer.concat([withLength(text), prove('hello', text)]));
  const refusal = await readText(stream);
  if (refusal.length > 0) throw new UserError(refusal.toString());
}

/**
 * Lets in the end that dialed, or not: `refuse` says why, in a sentence that the other end throws.
 *
 * @throws Stranger where it is none of ours; Error with the refusal, after it has been sent
 */
export async function welcome(
  stream: ByteStream,
  secret: string,
  refuse: (hello: Hello) => string | undefined,
): Promise<Hello> {
  const mine = randomBytes(NONCE);
  const theirs = await greet(stream, mine);
  const prove = (label: string, text?: Uint8Array) => proof(secret, label, mine, theirs, text);
  const known = timingSafeEqual(await stream.read(PROOF), prove('client'));
  // Zeros are no proof of anything. They tell who mistyped the secret what is wrong, and a guesser nothing new.
  stream.write(known ? prove('server') : Buffer.alloc(PROOF));
  if (!known) throw new Stranger('it does not know the secret');
  const text = await readText(stream);
  if (!timingSafeEqual(await stream.read(PROOF), prove('hello', text))) throw new Stranger('its hello was altered');
  const hello = parseHello(text);
  const refusal = hello ? refuse(hello) : 'this hello makes no sense';
  stream.write(withLength(Buffer.from(refusal ?? '').subarray(0, MAX_TEXT)));
  if (!hello || refusal !== undefined) throw new Error(refusal);
  return hello;
}

/** Both ends open with the same: magic, and the random bytes that the other's proofs must contain. */
async function greet(stream: ByteStream, nonce: Uint8Array): Promise<Uint8Array> {
  stream.write(Buffer.concat([MAGIC, nonce]));
  const magic = await stream.read(MAGIC.length);
  if (MAGIC.compare(magic, 0, MAGIC.length - 1, 0, MAGIC.length - 1) !== 0)
    throw new Stranger('it speaks another protocol');
  if (magic[MAGIC.length - 1] !== VERSION) throw new Stranger('it runs another version of Fourfold');
  return stream.read(NONCE);
}

/** `server` and `client` are the random bytes of the two ends. */
function proof(secret: string, label: string, server: Uint8Array, client: Uint8Array, text?: Uint8Array): Buffer {
  const hash = createHmac('sha256', secret).update(label).update(server).update(client);
  return hash.update(text ?? '').digest();
}

/** A text on the wire: its length in two bytes, then the text. */
function withLength(text: Uint8Array): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(text.length);
  return Buffer.concat([length, text]);
}

/** The text that withLength wrote, if it is no longer than any of ours. */
async function readText(stream: ByteStream): Promise<Buffer> {
  const length = Buffer.from(await stream.read(2)).readUInt16BE();
  if (length > MAX_TEXT) throw new Stranger(`it announces ${length} bytes where at most ${MAX_TEXT} are allowed`);
  return Buffer.from(await stream.read(length));
}

/** Of any world that is believed. */
const MAX_RANKS = 65536;
const isPurpose = (value: unknown): value is Hello['purpose'] => purposes.some((purpose) => purpose === value);

/** What the other end says of itself, if every field makes sense. */
function parseHello(text: Buffer): Hello | undefined {
  const among = (value: unknown, low: number, high: number): value is number =>
    Number.isInteger(value) && (value as number) >= low && (value as number) <= high;
  try {
    const { purpose, rank, worldSize, attempt } = JSON.parse(text.toString()) as Record<string, unknown>;
    if (!isPurpose(purpose)) return undefined;
    if (!among(rank, 0, MAX_RANKS - 1) || !among(worldSize, 1, MAX_RANKS) || !among(attempt, 0, 1e9)) return undefined;
    return { purpose, rank, worldSize, attempt };
  } catch {
    return undefined;
  }
}

/**
 * A socket as a stream of bytes. The socket is left paused between reads, so what comes after the handshake stays in
 * it for whoever reads next, by 'data' or otherwise. Works on a socket that is still connecting.
 */
export function socketStream(socket: Socket): ByteStream {
  let failure: Error | undefined;
  socket.on('error', (error) => {
    failure = error; // and without a listener an error would end the process
  });
  const read = (count: number) =>
    new Promise<Uint8Array>((resolve, reject) => {
      const events = ['readable', 'end', 'close'];
      // read(count) gives null while there is less, and the rest, which is less, once the other end has said goodbye.
      const look = () => {
        const bytes: Buffer | null = count > 0 ? socket.read(count) : Buffer.alloc(0);
        if (bytes === null && !socket.destroyed && !socket.readableEnded) return;
        for (const event of events) socket.off(event, look);
        if (bytes?.length === count) resolve(bytes);
        else reject(failure ?? new Error('it closed the connection'));
      };
      for (const event of events) socket.on(event, look);
      look();
    });
  return { read, write: (bytes) => void socket.write(bytes) };
}

/** `work`'s result, if it is there within `ms` milliseconds; else what `late` returns is thrown. */
export async function inTime<T>(ms: number, work: Promise<T>, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const end = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), ms);
  });
  try {
    return await Promise.race([work, end]);
  } finally {
    clearTimeout(timer);
  }
}

/** The same for work on a socket, which doesn't outlive it when it fails or takes too long. */
export async function within<T>(ms: number, socket: Socket, work: Promise<T>): Promise<T> {
  const late = () => {
    socket.destroy();
    return new Error(`it did not answer within ${Math.round(ms) / 1000} s`);
  };
  try {
    return await inTime(ms, work, late);
  } catch (error) {
    socket.destroySoon(); // after what has been written: a refusal must arrive
    throw error;
  }
}

/** Milliseconds that a handshake may take; an honest one takes two round trips. */
export const HANDSHAKE_MS = 5000;
const MAX_OUTSIDE = 64;

/** What `guard` asks of who lets others in. */
export interface Door {
  /** What all ranks know. */
  readonly secret: string;
  /** Says why this one may not come in; else it counts as being in, from here on. */
  readonly refuse: (hello: Hello, socket: Socket) => string | undefined;
  /** It knows that it is in. */
  readonly enter: (socket: Socket, hello: Hello) => void;
  /** Hears of those who were not let in, and why. */
  readonly turnedAway?: (socket: Socket, error: Error) => void;
}

/**
 * Lets in through a listening server those who know the secret. Strangers stay outside for five seconds at most, and at
 * most 64 of them: one more, and the longest there has to go, so a crowd of silent ones keeps nobody out. Returns what
 * sends all away who are still outside.
 */
export function guard(server: Server, { secret, refuse, enter, turnedAway }: Door): () => void {
  const outside = new Set<Socket>(); // in the order of arrival
  server.on('connection', (socket) => {
    const [oldest] = outside;
    if (oldest && outside.size >= MAX_OUTSIDE) oldest.destroy();
    outside.add(socket);
    socket.once('close', () => outside.delete(socket));
    const welcomed = welcome(socketStream(socket), secret, (hello) => refuse(hello, socket));
    within(HANDSHAKE_MS, socket, welcomed).then(
      (hello) => {
        outside.delete(socket);
        enter(socket, hello);
      },
      (error: Error) => turnedAway?.(socket, error), // it has been told why
    );
  });
  return () => {
    for (const socket of outside) socket.destroy();
  };
}

/** The fewest characters of a secret: who dials a false server leaves it a hash on which to try guesses. */
export const minSecret = 16;

/** Only this machine can reach it. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));

/**
 * The secret for meeting at `host`. One machine can do without, where '' counts as the secret.
 *
 * @throws UserError where it is short, or absent between machines
 */
export function checkSecret(secret: string | undefined, host: string): string {
  if (!secret && isLoopback(host)) return '';
  if (secret && secret.length >= minSecret) return secret;
  const trouble = secret ? 'is too short' : `is missing, and ${host} is reached over a network`;
  throw new UserError(
    `FOURFOLD_SECRET ${trouble}: it must have at least ${minSecret} characters, the same on every host`,
  );
}
