/**
 * Lanes: the sockets between ranks in the hands of C++, for sums that a thread waits for.
 *
 *     const lanes = openLanes({ rank, sockets, names, format: 'q80', timeoutMs: 30_000 })
 *     const y_ND = lanes.sum(part_ND, onto_ND)          onto + Σ parts, the same bits on all ranks
 *     const all = lanes.gather(bytes, lengths)          at rank 0: what each rank has
 *
 * A token of a shared model waits for two sums a layer. Through JavaScript's event loop each takes some hundred
 * microseconds, most of it the way from the socket to the promise; here it is one TensorFlow op that sends, sleeps
 * until the kernel has the peers' bytes, and adds up (packages/runtime/native/ops: lanes.h, sum-over-ranks.h). While it
 * waits, nothing else of this process runs: lanes are for ranks in processes of their own.
 *
 * No frames and no headers: all ranks call the same in the same order, and so know how many bytes come. Who sits at the
 * other ends has been proven before (tcp/handshake.ts).
 */
import type { Socket } from 'node:net';
import { attr, execute } from '@fourfold/runtime';
import { messageOf, RunError, UserError } from '@fourfold/runtime/errors';
import { onTensorflow, tensorflow } from '@fourfold/runtime/tensorflow';
import type { Tensor } from '@tensorflow/tfjs-core';

/** How numbers travel: 4 bytes each; 2; or 33 for 32 (packages/runtime/native/ops/transfer-format.h). */
export const transferFormats = ['float32', 'bfloat16', 'q80'] as const;
/** One of transferFormats. */
export type TransferFormat = (typeof transferFormats)[number];

/** What lanes are opened with. */
export interface LanesOptions {
  /** This rank, from 0. */
  readonly rank: number;
  /** The connection to each rank, by rank; undefined at this rank's own place. They are taken over. */
  readonly sockets: readonly (Socket | undefined)[];
  /** How errors name each rank. */
  readonly names: readonly string[];
  /** How numbers travel. */
  readonly format: TransferFormat;
  /** How long to wait for a peer, in milliseconds. */
  readonly timeoutMs: number;
}

/** Bytes, and milliseconds of waiting and of copying to sockets, since the lanes were opened. */
export interface LanesCost {
  /** Bytes that this rank sent. */
  readonly sent: number;
  /** Bytes that it received. */
  readonly received: number;
  /** Spent waiting, and copying to sockets. */
  readonly milliseconds: number;
}

/** One rank's end of the lanes. */
export class Lanes {
  /** This rank, from 0. */
  readonly rank: number;
  /** How many ranks there are. */
  readonly size: number;
  /** How numbers travel. */
  readonly format: TransferFormat;
  readonly #number: number;
  #final: LanesCost | undefined;

  constructor(number: number, { rank, sockets, format }: LanesOptions) {
    this.#number = number;
    this.rank = rank;
    this.size = sockets.length;
    this.format = format;
  }

  /**
   * onto_ND + Σ of all ranks' part_ND, which are rounded as they travel: float32, a new tensor.
   *
   * @throws RunError where a peer is gone or late, which ends the lanes
   */
  sum(part_ND: Tensor, onto_ND: Tensor): Tensor {
    return named(() => execute('FourfoldSumOverRanks', [part_ND, onto_ND], [attr.int('lanes', this.#number)]));
  }

  /**
   * Calls `run` with the number by which ops know these lanes: one that sums several times (ops' decoder-layers.ts).
   *
   * @throws RunError where a peer is gone or late, which ends the lanes
   */
  within<R>(run: (lanes: number) => R): R {
    return named(() => run(this.#number));
  }

  /**
   * The bytes of all ranks, at rank 0; none elsewhere. `lengths`, in bytes, are known to all.
   *
   * @throws RunError where a peer is gone or late
   */
  gather(bytes: Uint8Array, lengths: readonly number[]): Uint8Array[] {
    return named(() => tensorflow().native.gatherLanes(this.#number, bytes, lengths));
  }

  /** So far; after `close`, in all. */
  get cost(): LanesCost {
    if (this.#final) return this.#final;
    const [sent, received, milliseconds] = tensorflow().native.lanesCost(this.#number);
    return { sent, received, milliseconds };
  }

  /** Closes the connections. */
  close(): void {
    if (this.#final) return;
    this.#final = this.cost;
    tensorflow().native.closeLanes(this.#number);
  }
}

/**
 * Takes over connected sockets. Nobody may have sent anything on them yet but the handshake, for what Node has read
 * is lost; so all ranks must have opened theirs before one of them sums.
 *
 * @throws UserError where the backend is not TensorFlow's, RunError where a connection has closed
 */
export function openLanes(options: LanesOptions): Lanes {
  const { rank, sockets, names, format, timeoutMs } = options;
  if (!onTensorflow())
    throw new UserError(
      'Ranks on several machines need TensorFlow, and this is the wasm backend: npx nx run runtime:setup',
    );
  const descriptors = sockets.map((socket) => (socket ? descriptorOf(socket) : -1));
  const number = tensorflow().native.openLanes(rank, descriptors, names, transferFormats.indexOf(format), timeoutMs);
  for (const socket of sockets) socket?.destroy(); // ours are copies
  return new Lanes(number, options);
}

/** The kernel's number of a socket. Node has it, and gives it away under this name alone. */
function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } };
  if (handle?.fd === undefined || handle.fd < 0) throw new RunError('a connection closed before it was taken over');
  return handle.fd;
}

/** TensorFlow's errors begin and end with lines of its own. */
function named<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    const [, words] = /((?:rank|worker|the root|the lanes) .*)/.exec(messageOf(error)) ?? [];
    throw words ? new RunError(words) : error;
  }
}
