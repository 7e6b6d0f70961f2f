/**
 * A socket that is read straight into the memory where its bytes belong.
 *
 * Usually Node reads into buffers of its own, 64 KiB each, which we would copy from: on loopback that is a third of the
 * time. A socket that was dialed with `onread` asks us for the next buffer instead, and we give the rest of the view
 * that is being filled. Accepted sockets have no such option, so ranks dial each other both ways, and each reads from
 * the connections that it dialed.
 *
 * A connection is first a handshake, read in whatever pieces come, and then a stream of views.
 */
import net from 'node:net';
import type { ByteStream } from './handshake.ts';

/** The room for what comes before the first view is known. */
const HANDSHAKE_BYTES = 4096; // more than any handshake takes

/**
 * The reading end of a connection: first pieces of the handshake, then one view after another, each filled in place.
 */
export class Inlet implements ByteStream {
  readonly socket: net.Socket;
  /** Bytes of the handshake, and perhaps of what follows it. */
  readonly #staging = new Uint8Array(HANDSHAKE_BYTES);
  #staged = 0;
  #taken = 0;
  /** A read of the handshake that waits for bytes. */
  #reader: { count: number; resolve: (bytes: Uint8Array) => void; reject: (error: Error) => void } | undefined;
  #nextView: (() => Uint8Array) | undefined;
  #view: Uint8Array = new Uint8Array(0);
  #filled = 0;
  #readsToStaging = true;
  #paused = false;
  #ended: Error | undefined;

  constructor(host: string, port: number) {
    const onread = { buffer: () => this.#rest(), callback: (count: number) => this.#arrived(count) };
    this.socket = net.connect({ host, port, onread, noDelay: true, keepAlive: true });
    this.socket.on('error', (error) => this.#end(error));
    this.socket.on('end', () => this.#end(new Error('the connection was closed')));
    this.socket.on('close', () => this.#end(new Error('the connection was closed')));
  }

  /** The next `count` bytes of the handshake. */
  read(count: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      this.#reader = { count, resolve, reject };
      this.#serve();
      if (this.#ended) this.#end(this.#ended);
    });
  }

  write(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /**
   * Ends the handshake: from here on bytes go to the views that `nextView` gives, which is asked for one whenever the
   * last is full. A view has at least one byte.
   */
  stream(nextView: () => Uint8Array): void {
    this.#nextView = nextView;
    this.#view = nextView();
    this.#pourStaged();
  }

  /** Reads no more; then the kernel's buffers fill up and the sender has to wait. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.socket.resume();
  }

  /** Where the socket reads to next. */
  #rest(): Uint8Array {
    this.#readsToStaging = this.#nextView === undefined;
    return this.#readsToStaging ? this.#staging.subarray(this.#staged) : this.#view.subarray(this.#filled);
  }

  /** Bytes have been read; returns whether to go on. */
  #arrived(count: number): boolean {
    if (!this.#readsToStaging) this.#fill(count);
    else {
      this.#staged += count;
      if (this.#nextView) this.#pourStaged();
      else if (this.#staged < HANDSHAKE_BYTES) this.#serve();
      else this.socket.destroy(new Error('its handshake does not end'));
    }
    return !this.#paused;
  }

  /** Moves on what arrived together with the end of the handshake. */
  #pourStaged(): void {
    while (this.#taken < this.#staged) {
      const room = this.#view.length - this.#filled;
      const part = this.#staging.subarray(this.#taken, Math.min(this.#taken + room, this.#staged));
      this.#view.set(part, this.#filled);
      this.#taken += part.length;
      this.#fill(part.length);
    }
  }

  #fill(count: number): void {
    this.#filled += count;
    if (this.#filled < this.#view.length || !this.#nextView) return;
    this.#filled = 0;
    this.#view = this.#nextView();
  }

  #serve(): void {
    const reader = this.#reader;
    if (!reader || this.#staged - this.#taken < reader.count) return;
    this.#reader = undefined;
    const bytes = this.#staging.slice(this.#taken, this.#taken + reader.count);
    this.#taken += reader.count;
    reader.resolve(bytes);
  }

  #end(error: Error): void {
    this.#ended ??= error;
    this.#reader?.reject(this.#ended);
    this.#reader = undefined;
  }
}
