/**
 * When each collective ran on the GPU: between two events in its group's stream, which exist only while this is on.
 *
 *     the group's stream    waits for the tensors   start  ncclAllReduce  end
 *                                                     |<-- its time -->|
 *
 * The time of a collective has in it the time for which this GPU waited for the others to come to it.
 */
import type { Call, DeviceSpan } from '../calls.ts';
import type { NativeNccl } from './native.ts';

/** What is known of a collective when it starts. */
type Named = Pick<DeviceSpan, 'track' | 'name' | 'bytes'>;

/** Collectives that have been started since this was made. */
export class CallTimes {
  readonly #native: NativeNccl;
  readonly #started = new Map<number, Named>(); // by ticket

  /** Times count from a mark in TensorFlow's stream: `timeOps().base` of the runtime. */
  constructor(native: NativeNccl, base: number) {
    this.#native = native;
    native.startTiming(base);
  }

  /** Notes what a ticket is of. */
  started(ticket: number, { group, operation }: Call, bytes: number): void {
    this.#started.set(ticket, { track: group, name: operation, bytes });
  }

  /** Ends the timing and returns what has ended on the GPU, in the order in which it was started. */
  stop(): DeviceSpan[] {
    return this.#native.stopTiming().flatMap(([ticket, start, end]) => {
      const named = this.#started.get(ticket);
      return named ? [{ ...named, start, end }] : [];
    });
  }
}
