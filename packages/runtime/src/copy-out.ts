/**
 * Copies of what tensors hold, for a snapshot of a training's state while it goes on.
 *
 *     await copyOut(x, 0, view)      x's bytes, as they are now: x may change from here on
 *     await arrived()                now they are in the view
 *
 *     GPU    update | copies at the bus's speed | next step ...        it works through them in this order
 *     host   enqueues all of it, and waits for nothing
 *
 * A GPU writes by itself into memory that is pinned, which the system may neither move nor take away. Pinning takes
 * about as long as filling new memory does, so arrays that are used again stay pinned until `unpin`.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { memoryOf } from './bytes.ts';
import { attr, dtypeOf, executeMany, onTensorflow, tensorflow } from './tensorflow.ts';

const cudaModule = () => (onTensorflow() ? tensorflow().cuda : undefined);

/** Bytes that are copied at once: more would make Node collect garbage (see bytes.ts). */
const AT_ONCE = 2 ** 25;

/** Copies x's bytes, from byte `start` on, as many as `target` has. On a GPU target.buffer must live until `unpin`. */
export async function copyOut(x: Tensor, start: number, target: Uint8Array<ArrayBuffer>): Promise<void> {
  const cuda = cudaModule();
  if (target.length === 0) return;
  if (cuda) {
    cuda.aim(target.buffer, target.byteOffset, start, target.length);
    executeMany('FourfoldCopyInto', [x], [attr.type('T', dtypeOf(x))], 0);
    return;
  }
  const memory = await memoryOf(x);
  for (let done = 0; done < target.length; done += AT_ONCE) {
    const lent = memory.part(start + done, start + Math.min(done + AT_ONCE, target.length));
    target.set(lent.view, done);
    lent.giveBack();
  }
}

/** Ends when all that was copied out is where it belongs. */
export const arrived = async (): Promise<void> => cudaModule()?.arrived();

/** Gives all memory that copies went to back to the system's care. Nothing may be on its way. */
export const unpin = (): void => cudaModule()?.unpin();
