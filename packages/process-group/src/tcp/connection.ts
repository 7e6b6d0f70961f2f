/**
 * Two ranks, connected both ways: frames on lanes.
 *
 *     frame     kind u32, length u32, group u32, number u32, then `length` bytes
 *     lane      the frames of one collective, or of one message, in the order they were sent
 *
 * A frame that somebody waits for is read straight into the view it belongs to. One that comes early is kept, up to
 * some megabytes; beyond that this end stops reading until it is wanted. Every number in a header is checked before it
 * is believed: no frame makes us set aside more than a chunk.
 */
import type net from 'node:net';
import type { Inlet } from './inlet.ts';

/** The most that one frame carries: a larger tensor travels as several. */
export const MAX_FRAME = 1 << 20;
/** How many bytes may lie here before this end stops reading, if nobody waits for anything from the peer. */
const MAX_EARLY = 4 << 20;
const HEADER = 16;

/**
 * What frames are for, by their number on the wire: a collective's bytes, a message's, and the last words of a rank.
 */
export const KINDS = { call: 0, message: 1, goodbye: 2, failure: 3 } as const;
export type Kind = keyof typeof KINDS;
const KIND_NAMES = Object.keys(KINDS) as Kind[];

/** What frames belong to: a group's `number`-th collective, or the `number`-th message from one rank to another. */
export interface Lane {
  readonly kind: Kind;
  readonly group: number;
  readonly number: number;
}

/** A lane's name among the connection's. */
const keyOf = ({ kind, group, number }: Lane): string => `${kind} ${group} ${number}`;

/** What a rank does that its peer keeps it from ending, for time-outs. */
export interface Wait {
  readonly what: string;
  /** Since when, in milliseconds. */
  readonly since: number;
  /** What the peer has not done yet. */
  readonly lacks: 'call' | 'send' | 'take';
}

/** Somebody who waits for a lane's next frame. */
interface Wanted extends Wait {
  /** Where the frame is to go; without it, whatever comes is taken. */
  readonly view: Uint8Array | undefined;
  readonly resolve: (bytes: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

/** What a connection tells its endpoint. */
export interface ConnectionEvents {
  /** The peer says goodbye: it will send nothing more, on purpose. */
  goodbye(): void;
  /** The peer failed, in its own words. */
  failed(words: string): void;
  /** The connection is gone, or what comes over it can't be believed. */
  broken(why: string): void;
}

/** The frames of one peer: sent in order, and given to whoever waits for their lane. */
export class Connection {
  readonly #inlet: Inlet;
  readonly #outlet: net.Socket;
  readonly #events: ConnectionEvents;
  readonly #header = new Uint8Array(HEADER);
  readonly #wanted = new Map<string, Wanted[]>();
  /** The one whose frame is being read. */
  #arriving: Wanted | undefined;
  readonly #unsent = new Set<Wait>();
  readonly #early = new Map<string, Uint8Array[]>();
  #earlyBytes = 0;
  /** Nothing more will come. */
  #hasEnded = false;
  #failure: Error | undefined;

  /** `inlet` is the connection that this rank dialed, `outlet` the one that the peer did. */
  constructor(inlet: Inlet, outlet: net.Socket, events: ConnectionEvents) {
    this.#inlet = inlet;
    this.#outlet = outlet;
    this.#events = events;
    const ended = () => {
      this.#hasEnded = true;
      events.broken('its connection closed');
    };
    inlet.socket.on('end', ended).on('close', ended);
    this.#hasEnded = inlet.socket.readableEnded || inlet.socket.destroyed; // it met us, and went again
    outlet.on('error', () => {}); // 'close' follows
    // A peer that ends says goodbye on the other connection: its word may still be on the way.
    outlet.on('close', () => setTimeout(() => events.broken('its connection closed'), 1000).unref());
    outlet.on('data', () => events.broken('it sent bytes on a connection that it only reads'));
    inlet.stream(this.#frames());
  }

  // ## Sending

  /** Sends a frame. The bytes must stay as they are until `onSent`, for which this rank waits in `what`. */
  send(lane: Lane, bytes: Uint8Array, onSent?: () => void, what?: string): void {
    const wait: Wait | undefined = what ? { what, since: performance.now(), lacks: 'take' } : undefined;
    if (wait) this.#unsent.add(wait);
    const written = () => {
      if (wait) this.#unsent.delete(wait);
      onSent?.();
    };
    const header = new Uint8Array(HEADER);
    const fields = new DataView(header.buffer);
    for (const [i, value] of [KINDS[lane.kind], bytes.length, lane.group, lane.number].entries())
      fields.setUint32(4 * i, value, true);
    this.#outlet.cork();
    this.#outlet.write(header, bytes.length === 0 ? written : undefined);
    if (bytes.length > 0) this.#outlet.write(bytes, written);
    this.#outlet.uncork();
  }

  /** Sends the last frame and closes this rank's half. */
  finish(lane: Lane, bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      if (this.#outlet.destroyed) return resolve();
      this.#outlet.once('close', resolve);
      this.send(lane, bytes);
      this.#outlet.end(() => resolve());
    });
  }

  destroy(): void {
    this.#inlet.socket.destroy();
    this.#outlet.destroy();
  }

  // ## Receiving

  /** The next frame of a lane, in `view` where one is given; the frame must have its length. `what` names the wait. */
  receive(lane: Lane, what: string, view?: Uint8Array): Promise<Uint8Array> {
    if (this.#failure) return Promise.reject(this.#failure);
    const key = keyOf(lane);
    const early = this.#takeEarly(key);
    if (early) {
      const wrong = this.#misfit(early.length, view);
      return wrong ? Promise.reject(wrong) : Promise.resolve(placed(early, view));
    }
    return new Promise((resolve, reject) => {
      const line = this.#wanted.get(key) ?? [];
      line.push({ view, resolve, reject, what, since: performance.now(), lacks: view ? 'send' : 'call' });
      this.#wanted.set(key, line);
      if (this.#hasEnded) this.#events.broken('its connection closed');
      else this.#inlet.resume();
    });
  }

  /** What has been waited for longest, if anything. */
  oldestWait(): Wait | undefined {
    const first: (Wait | undefined)[] = [...this.#wanted.values()].map((line) => line[0]);
    const waits = [...first, this.#arriving, ...this.#unsent].filter((wait) => wait !== undefined);
    return waits.sort((a, b) => a.since - b.since)[0];
  }

  /** Text frames that came for collectives which this rank has not called. */
  unanswered(): string[] {
    return [...this.#early].filter(([key]) => key.startsWith('call')).map(([, [text]]) => decode(text));
  }

  /** Rejects every wait, now and from now on. */
  fail(error: Error): void {
    if (this.#failure) return;
    this.#failure = error;
    for (const line of this.#wanted.values()) for (const { reject } of line) reject(error);
    this.#arriving?.reject(error);
    this.#wanted.clear();
    this.#early.clear();
  }

  #takeEarly(key: string): Uint8Array | undefined {
    const line = this.#early.get(key);
    const bytes = line?.shift();
    if (line?.length === 0) this.#early.delete(key);
    this.#earlyBytes -= bytes?.length ?? 0;
    if (this.#earlyBytes < MAX_EARLY) this.#inlet.resume();
    return bytes;
  }

  /** The error where a frame has not the length that is wanted: the peer is not to be believed in anything then. */
  #misfit(length: number, view: Uint8Array | undefined): Error | undefined {
    if (!view || length === view.length) return undefined;
    const why = `it sent a frame of ${length} bytes where ${view.length} were due`;
    this.#events.broken(why);
    return this.#failure ?? new Error(why);
  }

  // ## Frames, byte by byte
  //
  // The inlet asks where to read next, whenever the last view is full: header, payload, header, payload.

  #frames(): () => Uint8Array {
    let arrived: (() => void) | undefined; // what to do when the present payload is full; none: a header is being read
    let isFirst = true;
    return () => {
      if (isFirst) {
        isFirst = false;
        return this.#header;
      }
      if (arrived) {
        const done = arrived;
        arrived = undefined;
        done();
        return this.#header;
      }
      const { lane, length } = this.#readHeader();
      const wanted = lane && this.#place(lane, length);
      if (!wanted) return this.#header;
      if (length === 0) {
        wanted.done();
        return this.#header;
      }
      arrived = wanted.done;
      return wanted.view;
    };
  }

  #readHeader(): { lane: Lane | undefined; length: number } {
    const fields = new DataView(this.#header.buffer);
    const field = (i: number) => fields.getUint32(4 * i, true);
    const [kind, length] = [KIND_NAMES[field(0)], field(1)];
    if (kind && length <= MAX_FRAME) return { lane: { kind, group: field(2), number: field(3) }, length };
    this.#events.broken('it sent a frame of no known kind, or one that is too long');
    return { lane: undefined, length: 0 };
  }

  /** Where a frame's payload goes, and what to do when it is there. */
  #place(lane: Lane, length: number): { view: Uint8Array; done: () => void } | undefined {
    if (lane.kind === 'goodbye' || lane.kind === 'failure') {
      const view = new Uint8Array(length);
      return { view, done: () => this.#farewell(lane.kind, view) };
    }
    const key = keyOf(lane);
    const wanted = this.#takeWanted(key);
    if (!wanted) return this.#keep(key, length);
    const wrong = this.#misfit(length, wanted.view);
    if (wrong) {
      wanted.reject(wrong);
      return undefined;
    }
    const view = wanted.view ?? new Uint8Array(length);
    this.#arriving = wanted;
    const done = () => {
      this.#arriving = undefined;
      wanted.resolve(view);
    };
    return { view, done };
  }

  /** Who has waited longest for a frame of this lane. */
  #takeWanted(key: string): Wanted | undefined {
    const line = this.#wanted.get(key);
    const wanted = line?.shift();
    if (line?.length === 0) this.#wanted.delete(key);
    return wanted;
  }

  #keep(key: string, length: number): { view: Uint8Array; done: () => void } {
    const view = new Uint8Array(length);
    const done = () => {
      const wanted = this.#takeWanted(key); // called for while it was being read
      if (wanted) {
        const wrong = this.#misfit(length, wanted.view);
        if (wrong) wanted.reject(wrong);
        else wanted.resolve(placed(view, wanted.view));
        return;
      }
      this.#early.set(key, [...(this.#early.get(key) ?? []), view]);
      this.#earlyBytes += length;
      if (this.#earlyBytes >= MAX_EARLY && this.#wanted.size === 0) this.#inlet.pause();
    };
    return { view, done };
  }

  #farewell(kind: Kind, bytes: Uint8Array): void {
    if (kind === 'goodbye') this.#events.goodbye();
    else this.#events.failed(decode(bytes));
  }
}

/** A peer's words, cut to a length that can be shown. */
const decode = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes).slice(0, 1000);

/** Bytes that came early, copied to where they are wanted. */
function placed(bytes: Uint8Array, view: Uint8Array | undefined): Uint8Array {
  view?.set(bytes);
  return view ?? bytes;
}
