/**
 * Tensors that lie together in memory: several, and one as well.
 *
 *     const [q, k, v] = together([q0, k0, v0])       copies, one behind the other in one piece of memory
 *     const qkv = stack([q, k, v])                   one matrix with all their rows: the same memory, nothing is copied
 *     const [dq, dk, dv] = parts(dqkv, [8, 4, 4])    and back
 *
 * So weights that are multiplied by the same x are one factor of one large product, and stay parameters of their own.
 * `stack` copies where its tensors do not lie so; on wasm all of these copy. (The ops: ../native/ops/together.h.)
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { concat, ints } from './shapes.ts';
import { attr, dtypeOf, executeMany, onTensorflow, share, sizeOf, tensorflow } from './tensorflow.ts';

const attributesOf = (count: number, x: Tensor) => [attr.int('N', count), attr.type('T', dtypeOf(x))];
const storedOf = (x: Tensor) => tensorflow().tensorMap.get(x.dataId);

/** Copies of tensors of one dtype, one behind the other: the caller's. Throws UserError without TensorFlow. */
export function together(xs: [Tensor, ...Tensor[]]): Tensor[] {
  const backend = tensorflow();
  const memory = backend.allocate(xs.reduce((bytes, x) => bytes + sizeOf(storedOf(x)), 0));
  const run = () => executeMany('FourfoldTogether', xs, attributesOf(xs.length, xs[0]), xs.length);
  const copies = backend.view(
    xs.map(() => memory),
    run,
  );
  backend.release(memory); // the copies hold it now
  return copies;
}

/** Matrices with rows of one length, one under the other: [ΣO, I], a new tensor. */
export function stack(xs: readonly Tensor[]): Tensor {
  const [first] = xs;
  if (!first || xs.length === 1 || !onTensorflow()) return concat([...xs], 0);
  const [buffer, ...others] = xs.map((x) => storedOf(x).buffer);
  const memory = others.every((other) => other === buffer) ? buffer : undefined; // else it will be a copy
  const run = () => executeMany('FourfoldStack', [...xs], attributesOf(xs.length, first), 1);
  return tensorflow().view([memory], run)[0] as Tensor;
}

/** A matrix in parts of so many rows each: new tensors, on TensorFlow in the matrix's own memory. */
export function parts(x: Tensor, rows: readonly number[]): Tensor[] {
  if (rows.length === 1) return [share(x)];
  if (!onTensorflow()) return tf.split(x, [...rows], 0);
  const counts = ints(...rows);
  const { buffer } = storedOf(x);
  const cut = tensorflow().view(
    rows.map(() => buffer),
    () => executeMany('FourfoldParts', [x, counts], attributesOf(rows.length, x), rows.length),
  );
  counts.dispose();
  return cut;
}
