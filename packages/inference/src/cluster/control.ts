/**
 * The connection by which a root tells a worker what to do: frames, small ones mostly.
 *
 *     frame      kind u8, length u32, then `length` bytes
 *     offer      root: which model, which rank, who the others are     answer    worker: takes part, or why not
 *     meet       root: all take part                                   met       worker: its lanes to all ranks stand
 *     slice      root: a part of a tensor, and its hash                have      worker: whether its cache has it
 *     bytes      root: the slice, in pieces                            ready     worker: all weights are loaded
 *     step       root: rows to compute                                 failure   worker: what went wrong, in words
 *     copy       root: a slot's cache to another                       ping      both: still here
 *
 * Both ends have proven themselves before (the handshake), and still no length is believed: a frame has at most 1 MiB.
 *
 * A machine that loses its power says nothing. So each end sends a ping when it has nothing else to say, and takes the
 * other for gone when four pings are missing. Ticks in which this process itself did not come to look don't count: a
 * long step keeps both ends from it.
 */
import type { Socket } from 'node:net';
import { RunError } from '@fourfold/runtime/errors';

const KINDS = [
  ...(['offer', 'answer', 'meet', 'met', 'slice', 'have', 'bytes', 'ready'] as const),
  ...(['step', 'copy', 'failure', 'ping'] as const),
];
export type Kind = (typeof KINDS)[number];

export interface Frame {
  readonly kind: Kind;
  readonly body: Uint8Array;
}

export const HEADER_BYTES = 5;
export const MAX_BODY = 1 << 20;
const MISSING = 4; // pings

export class Control {
  /** How errors name the other end: 'worker 10.0.0.2:9998'. */
  readonly name: string;
  /** Of frames, headers included; pings are not counted, which come by the clock. */
  readonly traffic = { sent: 0, received: 0 };
  readonly #socket: Socket;
  readonly #frames: Frame[] = [];
  #reader: { resolve: (frame: Frame) => void; reject: (error: Error) => void } | undefined;
  #pending: Buffer = Buffer.alloc(0);
  #failure: Error | undefined;
  #silent = 0;
  #quiet = true;
  readonly #clock: NodeJS.Timeout;
  readonly #onGone: ((error: Error) => void)[] = [];

  constructor(socket: Socket, name: string, timeoutMs: number) {
    this.#socket = socket;
    this.name = name;
    socket.on('data', (chunk: Buffer) => this.#arrived(chunk));
    socket.on('error', ({ message }) => this.#end(`is lost: ${message}`));
    socket.on('close', () => this.#end('closed its connection'));
    this.#clock = setInterval(() => this.#tick(timeoutMs), timeoutMs / MISSING).unref();
    if (socket.destroyed) this.#end('closed its connection');
  }

  /** Sends a frame; a step's is in the kernel's hands when this returns. */
  send(kind: Kind, body: Uint8Array = new Uint8Array(0)): void {
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt8(KINDS.indexOf(kind));
    header.writeUInt32LE(body.length, 1);
    this.#quiet = false;
    if (kind !== 'ping') this.traffic.sent += HEADER_BYTES + body.length;
    if (!this.#socket.destroyed) this.#socket.write(body.length > 0 ? Buffer.concat([header, body]) : header);
  }

  /** Sends JSON. */
  tell(kind: Kind, value: unknown): void {
    this.send(kind, Buffer.from(JSON.stringify(value)));
  }

  /** Resolves when what was sent has left this process's memory, but for a little. */
  drained(): Promise<void> {
    if (!this.#socket.writableNeedDrain) return this.#failure ? Promise.reject(this.#failure) : Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#socket.once('drain', resolve);
      this.onGone(reject);
    });
  }

  /** The next frame. Rejects where the other end is gone, or tells of a failure. One waits at a time. */
  next(): Promise<Frame> {
    const frame = this.#frames.shift();
    if (frame) return Promise.resolve(frame);
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
    });
  }

  /** The body of the next frame, which has to be of this kind. */
  async expect(kind: Kind): Promise<Uint8Array> {
    const frame = await this.next();
    if (frame.kind === kind) return frame.body;
    this.#end(`said '${frame.kind}' where '${kind}' was due`);
    throw this.#failure;
  }

  /** Calls `listener` once the other end is gone. */
  onGone(listener: (error: Error) => void): void {
    if (this.#failure) listener(this.#failure);
    else this.#onGone.push(listener);
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Ends the connection after what has been sent. */
  close(): void {
    this.#end('is no longer needed');
  }

  #arrived(chunk: Buffer): void {
    this.#silent = 0;
    let rest = this.#pending.length > 0 ? Buffer.concat([this.#pending, chunk]) : chunk;
    while (rest.length >= HEADER_BYTES && !this.#failure) {
      const kind = KINDS[rest.readUInt8()];
      const length = rest.readUInt32LE(1);
      const isFrame = kind !== undefined && length <= MAX_BODY;
      if (!isFrame) this.#end('sent what is no frame of ours');
      if (!isFrame || rest.length < HEADER_BYTES + length) break;
      this.#take({ kind, body: new Uint8Array(rest.subarray(HEADER_BYTES, HEADER_BYTES + length)) });
      rest = rest.subarray(HEADER_BYTES + length);
    }
    this.#pending = rest;
  }

  #take(frame: Frame): void {
    if (frame.kind === 'ping') return;
    this.traffic.received += HEADER_BYTES + frame.body.length;
    if (frame.kind === 'failure') this.#end(`says: ${Buffer.from(frame.body).toString().slice(0, 1000)}`);
    else if (!this.#reader) this.#frames.push(frame);
    else {
      const { resolve } = this.#reader;
      this.#reader = undefined;
      resolve(frame);
    }
  }

  #tick(timeoutMs: number): void {
    if (this.#quiet) this.send('ping');
    this.#quiet = true;
    this.#silent += 1;
    if (this.#silent > MISSING) this.#end(`has been silent for ${timeoutMs / 1000} s`);
  }

  #end(why: string): void {
    if (this.#failure) return;
    this.#failure = new RunError(`${this.name} ${why}`);
    clearInterval(this.#clock);
    this.#reader?.reject(this.#failure);
    this.#reader = undefined;
    this.#socket.destroySoon();
    for (const listener of this.#onGone) listener(this.#failure);
  }
}

/** A body that is JSON; what it holds is for the caller to check. */
export function parseBody(body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body).toString());
  } catch {
    return undefined;
  }
}
