/**
 * Meeting through a file, for machines that share a disk and agree on nothing else.
 *
 *     const store = await fileStore({ path: '/shared/run-7.json', rank, worldSize, attempt: 0, timeoutMs: 60_000 })
 *
 * Rank 0 serves its store on a port that happens to be free, draws a secret, and leaves both in the file; the others
 * look for the file until it is there. It appears at once and whole (written beside, then renamed), and only its owner
 * can read it, for who knows the secret is in.
 *
 * A file outlives a process that crashed, so that a file is there proves nothing. It is believed when the store it
 * names answers and knows the file's secret. Until then it counts as stale: whoever reads it keeps looking, for rank 0
 * may be about to replace it.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { HANDSHAKE_MS, Stranger } from './handshake.ts';
import { knock, type Store, serveStore } from './store.ts';

/** Which file, and who asks. */
export interface FileStoreOptions {
  /** The file, in a folder that exists; the same for all ranks. */
  readonly path: string;
  readonly rank: number;
  readonly worldSize: number;
  readonly attempt: number;
  /** Rank 0: an address of this machine that the others can reach. Default: 127.0.0.1, this machine alone. */
  readonly host?: string;
  /** How long to look for rank 0, and to wait for a value of the store. */
  readonly timeoutMs: number;
}

/** What rank 0 leaves for the others. */
interface Note {
  readonly host: string;
  readonly port: number;
  readonly secret: string;
  readonly attempt: number;
  /** When, as 2026-01-31T12:00:00.000Z. */
  readonly written: string;
}

/** The store, and the secret for further connections among its ranks. */
export type FileStore = Store & { readonly secret: string };

/**
 * Serves (rank 0) or finds (the others) the store.
 *
 * @throws UserError where rank 0 can't write the file or serve; where the others find no file in time, or a stale one
 */
export function fileStore(options: FileStoreOptions): Promise<FileStore> {
  return options.rank === 0 ? leaveNote(options) : followNote(options);
}

/** Rank 0: serves a store, and says in the file where it is. Takes the file away at the end, if it is still its own. */
async function leaveNote(options: FileStoreOptions): Promise<FileStore> {
  const { path, worldSize, attempt, timeoutMs, host = '127.0.0.1' } = options;
  const secret = randomBytes(32).toString('hex');
  const store = await serveStore({ host, port: 0, secret, worldSize, attempt, timeoutMs });
  try {
    await write(path, { host, port: store.port, secret, attempt, written: new Date().toISOString() });
  } catch (error) {
    await store.close();
    const trouble = (error as NodeJS.ErrnoException).code ?? messageOf(error);
    throw new UserError(`${path} can't be written (${trouble}): choose a folder that all ranks can read and write`);
  }
  return withSecret(store, secret, async () => {
    const note = await read(path).catch(() => undefined);
    if (note?.secret === secret) await rm(path, { force: true }); // else it is another run's by now
    await store.close();
  });
}

/** The others: look for the file, and try what it names, until the store answers or the time is over. */
async function followNote(options: FileStoreOptions): Promise<FileStore> {
  const { path, rank, timeoutMs } = options;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const left = deadline - performance.now();
    const trouble = await follow(options, Math.min(HANDSHAKE_MS, left)).catch((error: unknown) => error as Error);
    if (!(trouble instanceof Error)) return trouble;
    if (trouble instanceof UserError) throw trouble; // rank 0 is there, and refuses
    await sleep(PAUSE);
    if (deadline - performance.now() > PAUSE) continue; // else a try would fail for want of time, and hide the reason
    const isAbsent = (trouble as NodeJS.ErrnoException).code === 'ENOENT';
    const what = isAbsent ? 'did not appear' : `is stale (${trouble.message}) and was not replaced`;
    throw new UserError(`rank ${rank}: ${path} ${what} within ${timeoutMs / 1000} s: is rank 0 running?`);
  }
}

/** So seldom that a shared disk doesn't notice. */
const PAUSE = 100; // milliseconds between two looks at the file

/** Reads the file and tries the store that it names, once; throws an Error that says why the file is not believed. */
async function follow(options: FileStoreOptions, ms: number): Promise<FileStore> {
  const { host, port, secret, written, attempt } = await read(options.path);
  const writer = `${host}:${port}, which wrote it at ${written},`;
  if (attempt !== options.attempt) throw new Error(`${writer} was of attempt ${attempt}, not ${options.attempt}`);
  try {
    const store = await knock({ ...options, host, port, secret }, ms);
    return withSecret(store, secret, () => store.close());
  } catch (error) {
    if (error instanceof UserError) throw error;
    const isOther = error instanceof Stranger;
    throw new Error(`${writer} ${isOther ? 'is another program now' : 'does not answer'}: ${messageOf(error)}`);
  }
}

/** A store with the file's secret beside it. */
function withSecret(store: Store, secret: string, close: () => Promise<void>): FileStore {
  return {
    secret,
    localAddress: store.localAddress,
    set: (key, value) => store.set(key, value),
    get: (key, owner) => store.get(key, owner),
    close,
  };
}

/** Puts the file there whole, for its owner's eyes only. */
async function write(path: string, note: Note): Promise<void> {
  const beside = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    const file = await open(beside, 'wx', 0o600);
    try {
      await file.writeFile(`${JSON.stringify(note)}\n`);
      await file.sync(); // over a network the name can arrive before the bytes
    } finally {
      await file.close();
    }
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true });
    throw error;
  }
}

/** Longer files are somebody else's. */
const MAX_NOTE = 4096; // bytes

/** The file's note; throws what is wrong with it, in a few words. */
async function read(path: string): Promise<Note> {
  // A pipe would keep one waiting for its other end; opened so, it reads as empty.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    // Whoever may put a file there could else name a store of his own.
    const { uid } = await file.stat();
    if (process.getuid && uid !== process.getuid()) throw new Error('it belongs to another user');
    const { bytesRead, buffer } = await file.read(Buffer.alloc(MAX_NOTE + 1), 0, MAX_NOTE + 1, null);
    if (bytesRead > MAX_NOTE) throw new Error(`it has more than ${MAX_NOTE} bytes`);
    return parseNote(buffer.toString('utf8', 0, bytesRead));
  } finally {
    await file.close();
  }
}

/** A note whose every field makes sense; an Error with the one that doesn't. */
function parseNote(text: string): Note {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error('it is not JSON');
  }
  const { host, port, secret, attempt, written } = (value ?? {}) as Record<string, unknown>;
  const isText = (x: unknown, form: RegExp): x is string => typeof x === 'string' && form.test(x);
  const isAmong = (x: unknown, low: number, high: number): x is number =>
    Number.isInteger(x) && (x as number) >= low && (x as number) <= high;
  if (!isText(host, /^[\w.:%-]{1,253}$/)) throw badField('host');
  if (!isAmong(port, 1, 65535)) throw badField('port');
  if (!isText(secret, /^[\da-f]{64}$/)) throw badField('secret');
  if (!isAmong(attempt, 0, 1e9)) throw badField('attempt');
  if (!isText(written, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)) throw badField('written');
  return { host, port, secret, attempt, written };
}

/** What is wrong with a note. */
const badField = (name: string): Error => new Error(`its ${name} is missing or makes no sense`);
