/**
 * Memory for what peers send until it has been added up, used again and again.
 *
 * A new buffer of some megabytes for every collective would be cleared page by page by the system, and be garbage soon:
 * collecting that took longer than a 64 MB all-reduce on loopback.
 */
const MAX_KEPT = 1 << 28; // bytes

/** Buffers that are not in use; the smallest that fits is taken. */
export class Scratch {
  #free: ArrayBuffer[] = [];

  /** Memory of `bytes` bytes, with anything in it. */
  take(bytes: number): Uint8Array {
    const fits = this.#free.filter((buffer) => buffer.byteLength >= bytes);
    const smallest = fits.sort((a, b) => a.byteLength - b.byteLength)[0];
    if (smallest) this.#free.splice(this.#free.indexOf(smallest), 1);
    return new Uint8Array(smallest ?? new ArrayBuffer(bytes), 0, bytes);
  }

  /** Takes back memory that `take` gave. */
  giveBack(view: Uint8Array): void {
    const kept = this.#free.reduce((sum, buffer) => sum + buffer.byteLength, 0);
    if (view.buffer.byteLength > 0 && kept + view.buffer.byteLength <= MAX_KEPT)
      this.#free.push(view.buffer as ArrayBuffer);
  }
}
