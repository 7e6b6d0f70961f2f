/**
 * A tensor's bytes in equal parts along an axis, and a tensor made of such parts.
 *
 * Along the first axis (or one before which all sides are 1) the parts lie one after the other in memory, and are views
 * of it; along another they are gathered up first, or joined afterwards.
 */
import { type Blank, blank, bytesOf } from '@fourfold/runtime/bytes';
import { concat, slice } from '@fourfold/runtime/shapes';
import { BYTES, type DType } from '@fourfold/runtime/tensorflow';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { sizeOf } from '../calls.ts';

/** Parts to read. */
export interface Cut {
  readonly views: readonly Uint8Array[];
  giveBack(): void;
}

/** Parts to write, and the tensor of them all. */
export interface Joint {
  readonly views: readonly Uint8Array[];
  finish(): Tensor;
}

/**
 * Whether parts along the axis are runs of memory, so that they can be cut without a copy: no axis before it is longer
 * than 1.
 */
const liesInOrder = (shape: readonly number[], axis: number): boolean => sizeOf(shape.slice(0, axis)) === 1;

/** x's bytes, cut along `axis` into n parts of equal length. */
export async function cut(x: Tensor, axis: number, n: number): Promise<Cut> {
  if (liesInOrder(x.shape, axis)) {
    const { view, giveBack } = await bytesOf(x);
    const bytes = view.length / n;
    return { views: Array.from({ length: n }, (_, i) => view.subarray(i * bytes, (i + 1) * bytes)), giveBack };
  }
  const length = (x.shape[axis] as number) / n;
  const parts = Array.from({ length: n }, (_, i) => slice(x, axis, i * length, length));
  const lent = await Promise.all(parts.map(bytesOf));
  const giveBack = () => {
    for (const one of lent) one.giveBack();
    tf.dispose(parts);
  };
  return { views: lent.map(({ view }) => view), giveBack };
}

/** Room for a tensor whose parts have `sizes` along `axis`, and else the sides of `shape`. */
export function join(shape: readonly number[], axis: number, sizes: readonly number[], dtype: DType): Joint {
  const shapes = sizes.map((size) => shape.map((side, i) => (i === axis ? size : side)));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (liesInOrder(shape, axis)) {
    const whole = blank(
      shape.map((side, i) => (i === axis ? total : side)),
      dtype,
    );
    let end = 0;
    const views = shapes.map((part) => {
      const start = end;
      end += sizeOf(part) * BYTES[dtype];
      return whole.view.subarray(start, end);
    });
    return { views, finish: whole.finish };
  }
  const parts: Blank[] = shapes.map((part) => blank(part, dtype));
  const finish = () => {
    const tensors = parts.map((part) => part.finish());
    const whole = concat(tensors, axis);
    tf.dispose(tensors);
    return whole;
  };
  return { views: parts.map(({ view }) => view), finish };
}
