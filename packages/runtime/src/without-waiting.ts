/**
 * Numbers from and to a GPU that don't make this thread wait for it.
 *
 *     constant([0.5], [])         JavaScript's numbers, for the device
 *     zeros([V, D])               made by the device itself
 *     hostFloats([lr, beta])      for a kernel that reads them where they are
 *     readLater(loss)             a promise of the device's numbers
 *
 * A GPU works through what was enqueued while JavaScript is already enqueueing more. Reading a tensor ends that, and so
 * does making one of float32 numbers by tf.tensor, or by what calls it (tf.scalar, tf.zeros, tf.fill, tf.div(x, 2)):
 * tfjs copies them to the GPU behind everything before them and waits. So does giving int32 numbers, which tfjs leaves
 * in the host's memory, to a kernel that wants them in the GPU's. A training step does nothing of this.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { hostInts, ints } from './shapes.ts';
import { attr, execute, executeMany, onTensorflow, share, tensorflow } from './tensorflow.ts';

const cudaModule = () => (onTensorflow() ? tensorflow().cuda : undefined);

// ## To the device

/** A float32 tensor of these numbers. On a GPU a copy of them is enqueued; elsewhere they may be its memory. */
export function constant(numbers: Float32Array | readonly number[], shape: readonly number[]): Tensor {
  const values = numbers instanceof Float32Array ? numbers : Float32Array.from(numbers);
  if (!cudaModule()) return tf.tensor(values, [...shape], 'float32');
  const bits = hostInts(new Int32Array(values.buffer, values.byteOffset, values.length), shape);
  const x = execute('FourfoldUpload', [bits], []);
  bits.dispose();
  return x;
}

const ZEROS = [attr.type('dtype', 'float32'), attr.bool('init', true)];
/** Float32 zeros, in memory that nobody else has. */
export function zeros(shape: readonly number[]): Tensor {
  if (!onTensorflow()) return tf.zeros([...shape]);
  const sides = ints(...shape);
  const x = execute('Empty', [sides], ZEROS);
  sides.dispose();
  return x;
}

/**
 * A tensor of float32 numbers for a kernel to read in the host's memory: their bits as int32, which tfjs leaves there.
 */
export const hostFloats = (numbers: readonly number[]): Tensor =>
  ints(...new Int32Array(Float32Array.from(numbers).buffer));

// ## From the device

/** Numbers, and when they were there, in performance.now()'s milliseconds. */
export interface Timed {
  /** The tensor's, as float32. */
  readonly numbers: Float32Array;
  /** When they were there. */
  readonly at: number;
}

/**
 * The numbers of a float32 tensor, as they are when all that is enqueued now has been done. The caller may dispose of x
 * at once. On a GPU a copy is enqueued and this thread goes on, also where the GPU waits for a peer that is gone: no
 * group need have been `drained`. Elsewhere everything enqueued is done, and they are read.
 */
export const readLater = async (x: Tensor): Promise<Float32Array> => (await readTimed(x)).numbers;

/** The same with the time: that of the GPU, however late this thread hears of it. */
export async function readTimed(x: Tensor): Promise<Timed> {
  const cuda = cudaModule();
  if (!cuda) {
    const held = share(x); // WebGPU reads later, and by then x may be gone
    const numbers = (await held.data()) as Float32Array;
    held.dispose();
    return { numbers, at: performance.now() };
  }
  executeMany('FourfoldCopyOut', [x], [], 0);
  const { numbers, ago } = await cuda.copied();
  return { numbers, at: performance.now() - ago };
}
