/**
 * Numbers from and to a GPU that don't make this thread wait for it.
 *
 * A GPU works through what was enqueued while JavaScript is already enqueueing more. Reading a tensor ends that, and so
 * does making one of float32 numbers: tfjs copies them to the GPU behind everything before them and waits. A training
 * step does neither: it reads its loss one step late, and hands numbers to kernels in the host's memory.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { ints } from './shapes.ts';
import { executeMany, onTensorflow, tensorflow } from './tensorflow.ts';

/**
 * The numbers of a float32 tensor, as they are when all that is enqueued now has been done. The caller may dispose of x
 * at once. On a GPU a copy is enqueued and this thread goes on, also where the GPU waits for a peer that is gone: no
 * group need have been `drained`. Elsewhere everything enqueued is done, and they are read.
 */
export function readLater(x: Tensor): Promise<Float32Array> {
  const cuda = onTensorflow() ? tensorflow().cuda : undefined;
  if (!cuda?.copied) return x.data() as Promise<Float32Array>;
  executeMany('FourfoldCopyOut', [x], [], 0);
  return cuda.copied();
}

/**
 * A tensor of float32 numbers for a kernel to read in the host's memory: their bits as int32, which tfjs leaves there.
 */
export const hostFloats = (numbers: readonly number[]): Tensor =>
  ints(...new Int32Array(Float32Array.from(numbers).buffer));
