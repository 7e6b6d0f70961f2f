/**
 * Weight matrices as the kernels of inference read them: opaque, made once when a model is loaded.
 *
 *     const w_OI = packWeight('q40', O, I, bytes)      bytes row by row, in formats.ts's blocks
 *     packedRows(w_VD, ids_N)                          rows as float32: an embedding
 *
 * On TensorFlow the bytes are kept as they are, but in panels of 16 rows (native/ops/panels.h has the picture), which
 * suit a GPU as well as a processor. Elsewhere a packed matrix is its float32 values, which take 7 times the memory of
 * q40 and give the same results, to rounding.
 */
import { attr, execute, onTensorflow } from '@fourfold/runtime';
import { blank } from '@fourfold/runtime/bytes';
import { tensorflow } from '@fourfold/runtime/tensorflow';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { takeRows } from '../kernels.ts';
import { BLOCK, dequantize, FORMAT_NUMBER, inBlocks, rowBytes, type WeightFormat } from './formats.ts';

/** Weights w_OI, or several matrices of one shape one behind the other, [E, O, I]. */
export interface Packed {
  /** What the weights are kept in. */
  readonly format: WeightFormat;
  /** O of one matrix. */
  readonly rows: number;
  /** I of one matrix. */
  readonly columns: number;
  /** E: 1 but for experts. */
  readonly matrices: number;
  /** Bytes of memory that it takes. */
  readonly bytes: number;
  /** Whether `data` are panels, which native ops read; else it is [E·O, I], float32. */
  readonly native: boolean;
  /** TensorFlow knows no bytes: float32's, four at a time. tf.tidy does not free it. */
  readonly data: Tensor;
  /** Frees them. */
  dispose(): void;
}

/** Whether matrices that are packed now are for the native ops: on TensorFlow, unless stockKernels runs. */
export const hasPackedOps = (): boolean => onTensorflow() && tensorflow().fusedDtypes.includes('float32');

/**
 * Packs `bytes`: `rows` times `matrices` (default 1) rows of `columns` numbers.
 *
 * @throws RangeError where `columns` of q40, q41 or q80 are not a multiple of 32, or the bytes are more or fewer
 */
export function packWeight(
  format: WeightFormat,
  rows: number,
  columns: number,
  bytes: Uint8Array,
  matrices = 1,
): Packed {
  if (inBlocks(format) && columns % BLOCK !== 0)
    throw new RangeError(`rows of ${columns} numbers are not whole blocks of ${BLOCK}, which ${format} is made of`);
  const expected = matrices * rows * rowBytes(format, columns);
  if (bytes.length !== expected)
    throw new RangeError(
      `${bytes.length} bytes are not ${matrices} x ${rows} x ${columns} numbers in ${format}, which take ${expected}`,
    );
  const native = hasPackedOps();
  const shape = { format, rows, columns, matrices };
  const data = tf.keep(native ? panels(shape, bytes) : floats(shape, bytes));
  return { ...shape, bytes: 4 * data.size, native, data, dispose: () => data.dispose() };
}

/** What is known of a matrix before it is packed. */
type Shape = Pick<Packed, 'format' | 'rows' | 'columns' | 'matrices'>;

/** Bytes in panels, for native ops: as many as before, but for rows up to a multiple of 16. */
function panels({ format, rows, columns, matrices }: Shape, bytes: Uint8Array): Tensor {
  const { native } = tensorflow();
  const number = FORMAT_NUMBER[format];
  const memory = blank([(matrices * native.panelBytes(number, rows, columns)) / 4], 'float32');
  native.pack(number, rows, columns, matrices, bytes, memory.view);
  return memory.finish();
}

/** The numbers themselves, [E·O, I], for stock kernels. */
function floats({ format, rows, columns, matrices }: Shape, bytes: Uint8Array): Tensor {
  const whole = new Uint8Array(Math.ceil(bytes.length / rowBytes(format, BLOCK)) * rowBytes(format, BLOCK));
  whole.set(bytes); // float32 and bfloat16 rows need not be whole blocks
  const values = dequantize(format, whole).subarray(0, matrices * rows * columns);
  return tf.tensor2d(values, [matrices * rows, columns]);
}

/** The three numbers by which native ops know a matrix. */
export const shapeNumbers = ({ format, rows, columns }: Shape): number[] => [FORMAT_NUMBER[format], rows, columns];

/** Rows ids_N (int32) of one packed matrix as float32, [N, I]. */
export function packedRows(w_VD: Packed, ids_N: Tensor): Tensor {
  return w_VD.native
    ? execute('FourfoldPackedRows', [w_VD.data, ids_N], [attr.ints('shape', shapeNumbers(w_VD))])
    : takeRows(w_VD.data, ids_N);
}
