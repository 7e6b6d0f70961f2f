/**
 * Tensors as the bytes that a wire carries.
 *
 *     const { view, giveBack } = await bytesOf(x)     x's own memory where it can be had, to be read
 *     const { view, finish } = blank(shape, dtype)    memory for a tensor to come, to be written; then finish()
 *     fold(view, [a, b, c], 'float32', 'sum')         the sum of arrays of bytes, element by element
 *
 * On TensorFlow's CPU nothing is copied: a socket sends from the tensor and receives into the next one. A GPU's tensors
 * and wasm's are copied out and in.
 *
 * Large tensors are better lent a part at a time: Node's garbage collector sees the lent bytes as if it could free
 * them, and runs whenever they grow by 64 MB; that would take longer than an all-reduce of as much.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { ints } from './shapes.ts';
import {
  attr,
  BYTES,
  cast,
  type DType,
  dtypeOf,
  execute,
  executeMany,
  onTensorflow,
  onTensorflowCpu,
  read,
  TYPE_NUMBER,
  tensorflow,
} from './tensorflow.ts';

/** Bytes that are lent. */
export interface Lent {
  /** The bytes themselves: no copy, where the backend has them in this process's memory. */
  readonly view: Uint8Array;
  /** Ends the loan: the view is empty from now on. */
  giveBack(): void;
}

/** The memory of a tensor, of which any part may be lent: bytes `from` up to `to`. */
export interface Memory {
  /** Lends bytes `from` up to `to`, counted from the tensor's first. */
  part(from: number, to: number): Lent;
}

/** Memory of a tensor to come, to be written. */
export interface Blank extends Memory {
  /** All of it. */
  readonly view: Uint8Array;
  /** The tensor of the bytes that were written; `view` is empty from now on. */
  finish(): Tensor;
}

/** Memory that JavaScript has itself. */
const ofArray = (bytes: Uint8Array): Memory => ({
  part: (from, to) => ({ view: bytes.subarray(from, to), giveBack: () => {} }),
});
/** Memory of a tensor on TensorFlow's CPU. */
const ofTensor = (x: Tensor): Memory => ({ part: (from, to) => lend(x, from, to) });

const asBytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);

/** x's memory, for reading alone: float32 and int32 little-endian, bfloat16 the upper half of a float32. */
export async function memoryOf(x: Tensor): Promise<Memory> {
  if (x.size === 0) return ofArray(new Uint8Array(0));
  if (onTensorflowCpu()) return ofTensor(x);
  const values = await read(x);
  return ofArray(dtypeOf(x) === 'bfloat16' ? upperHalves(asBytes(values)) : asBytes(values));
}

/** All of x's bytes, for reading alone. */
export async function bytesOf(x: Tensor): Promise<Lent> {
  return (await memoryOf(x)).part(0, x.size * BYTES[dtypeOf(x)]);
}

function lend(x: Tensor, from: number, to: number): Lent {
  executeMany('FourfoldLend', [x], [attr.type('T', dtypeOf(x))], 0);
  const { native } = tensorflow();
  const buffer = native.takeLent(from, to);
  return { view: new Uint8Array(buffer), giveBack: () => native.giveBack(buffer) };
}

/** A tensor of this shape and dtype whose values are still to be written. */
export function blank(shape: readonly number[], dtype: DType): Blank {
  const bytes = shape.reduce((product, side) => product * side, BYTES[dtype]);
  if (!onTensorflowCpu() || bytes === 0) {
    const view = new Uint8Array(bytes);
    return { ...ofArray(view), view, finish: () => tensorOf(view, [...shape], dtype) };
  }
  const sides = ints(...shape);
  const y = execute('Empty', [sides], [attr.type('dtype', dtype), attr.bool('init', false)]);
  sides.dispose();
  let whole: Lent | undefined;
  return {
    ...ofTensor(y),
    get view() {
      whole ??= lend(y, 0, bytes);
      return whole.view;
    },
    finish() {
      whole?.giveBack();
      return y;
    },
  };
}

/** A tensor of a copy of these bytes. */
function tensorOf(view: Uint8Array, shape: number[], dtype: DType): Tensor {
  if (dtype === 'int32') return tf.tensor(new Int32Array(view.buffer as ArrayBuffer), shape, 'int32');
  if (dtype === 'float32') return tf.tensor(new Float32Array(view.buffer as ArrayBuffer), shape, 'float32');
  const wide = tf.tensor(new Float32Array(widened(view).buffer), shape, 'float32');
  const narrow = cast(wide, dtype);
  wide.dispose();
  return narrow;
}

/** float32 to bfloat16 by leaving the lower half of each away: exact for values that are bfloat16. */
function upperHalves(bytes: Uint8Array): Uint8Array {
  const words = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  const upper = new Uint16Array(words.length / 2);
  for (let i = 0; i < upper.length; i++) upper[i] = words[2 * i + 1] as number;
  return asBytes(upper);
}

/** bfloat16 to float32: a lower half of zeros. */
function widened(bytes: Uint8Array): Uint32Array<ArrayBuffer> {
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < words.length; i++) words[i] = (halves[i] as number) << 16;
  return words;
}

// ## Sums over bytes

/** What of several arrays: their sum, mean or largest, element by element. */
export type Fold = 'sum' | 'mean' | 'max';
const FOLDS: readonly Fold[] = ['sum', 'mean', 'max'];

/**
 * out = ((inputs[0] + inputs[1]) + inputs[2]) ..., or their mean or largest, as tf.add gives it bit for bit; bfloat16
 * is added in float32 and rounded once, and the larger of 0 and -0 may be either. All arrays are of one length; out may
 * be one of the inputs.
 */
export function fold(out: Uint8Array, inputs: readonly Uint8Array[], dtype: DType, kind: Fold): void {
  if (onTensorflow()) tensorflow().native.fold(out, inputs, TYPE_NUMBER[dtype], FOLDS.indexOf(kind));
  else foldInJavaScript(out, inputs, dtype, kind);
}

/** The same without TensorFlow, which has float32 and int32 alone. */
function foldInJavaScript(out: Uint8Array, inputs: readonly Uint8Array[], dtype: DType, kind: Fold): void {
  const numbers = (bytes: Uint8Array) =>
    dtype === 'int32'
      ? new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
      : new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const [first, ...others] = inputs.map(numbers);
  const sums = (first as Float32Array | Int32Array).slice();
  for (const x of others) {
    if (kind === 'max') for (let i = 0; i < sums.length; i++) sums[i] = Math.max(sums[i] as number, x[i] as number);
    else for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] as number) + (x[i] as number);
  }
  if (kind === 'mean') for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] as number) / inputs.length;
  numbers(out).set(sums);
}
