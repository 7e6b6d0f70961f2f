/**
 * Tensors rearranged: reshaped, transposed, cut and joined, on every backend and at their true dtypes.
 *
 * Results are new tensors that the caller owns, or that the enclosing tf.tidy frees.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type Attribute, attr, type DType, dtypeOf, execute, executeView, onTensorflow, share } from './tensorflow.ts';

/** Attribute lists that differ by dtype alone, made once. */
export const ofDType = (make: (dtype: DType) => Attribute[]): Record<DType, Attribute[]> => ({
  float32: make('float32'),
  bfloat16: make('bfloat16'),
  int32: make('int32'),
  bool: make('bool'),
});
/** A 1-d int32 tensor of a few numbers, without the checks and copies of tf.tensor1d: ops take their axes so. */
export const ints = (...values: number[]): Tensor => hostInts(Int32Array.from(values), [values.length]);

/** An int32 tensor of these numbers, which it may share the memory of: the host's, whatever the device is. */
export function hostInts(values: Int32Array, sides: readonly number[]): Tensor {
  const shape = [...sides];
  const dataId = tf.backend().write(values, shape, 'int32');
  return tf.engine().makeTensorFromTensorInfo({ dataId, shape, dtype: 'int32' });
}

const RESHAPE = ofDType((t) => [attr.type('T', t), attr.type('Tshape', 'int32')]);
/** x in another shape of as many numbers, one of them -1 where it follows from the rest; in the same memory. */
export function reshape(x: Tensor, shape: number[]): Tensor {
  if (shape.length === x.rank && shape.every((side, i) => side === x.shape[i] || side === -1)) return share(x);
  if (!onTensorflow()) return tf.reshape(x, shape);
  const sides = ints(...shape);
  const y = executeView('Reshape', [x, sides], RESHAPE[dtypeOf(x)]);
  sides.dispose();
  return y;
}

const TRANSPOSE = ofDType((t) => [attr.type('T', t), attr.type('Tperm', 'int32')]);
/**
 * x with its axes in another order: axis i of the result is axis order[i] of x. [B, T, H, K] by [0, 2, 1, 3] is [B, H,
 * T, K].
 */
export function transpose(x: Tensor, order: number[]): Tensor {
  if (x.size === 0)
    return reshape(
      x,
      order.map((axis) => x.shape[axis] as number),
    ); // wasm's kernel would divide by 0
  if (!onTensorflow()) return tf.transpose(x, order);
  const axes = ints(...order);
  const y = execute('Transpose', [x, axes], TRANSPOSE[dtypeOf(x)]);
  axes.dispose();
  return y;
}

const SLICE = ofDType((t) => [attr.type('T', t), attr.type('Index', 'int32')]);
/** `length` places of x along `axis`, from `start`; x itself, shared, where that is all of it. */
export function slice(x: Tensor, axis: number, start: number, length: number): Tensor {
  if (length === x.shape[axis]) return share(x);
  const begin = x.shape.map((_, i) => (i === axis ? start : 0));
  const size = x.shape.map((side, i) => (i === axis ? length : side));
  if (!onTensorflow()) return tf.slice(x, begin, size);
  const [beginTensor, sizeTensor] = [ints(...begin), ints(...size)];
  const y = execute('Slice', [x, beginTensor, sizeTensor], SLICE[dtypeOf(x)]);
  tf.dispose([beginTensor, sizeTensor]);
  return y;
}

const PAD = ofDType((t) => [attr.type('T', t), attr.type('Tpaddings', 'int32')]);
/** x with so many zeros before and after it along `axis`. */
export function pad(x: Tensor, axis: number, before: number, after: number): Tensor {
  const sides = x.shape.map((_, i): [number, number] => (i === axis ? [before, after] : [0, 0]));
  if (!onTensorflow()) return tf.pad(x, sides);
  const paddings = hostInts(Int32Array.from(sides.flat()), [x.rank, 2]);
  const y = execute('Pad', [x, paddings], PAD[dtypeOf(x)]);
  paddings.dispose();
  return y;
}

/** Tensors, one at least, one after the other along `axis`; a single one is shared. */
export function concat(parts: Tensor[], axis: number): Tensor {
  const [first] = parts;
  if (!first) throw new Error('concat of no tensors');
  if (parts.length === 1) return share(first);
  if (!onTensorflow()) return tf.concat(parts, axis);
  const axisTensor = tf.scalar(axis, 'int32');
  const attributes = [attr.int('N', parts.length), attr.type('T', dtypeOf(first)), attr.type('Tidx', 'int32')];
  const y = execute('ConcatV2', [...parts, axisTensor], attributes);
  axisTensor.dispose();
  return y;
}
