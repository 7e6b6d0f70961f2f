/** Tensors for tests. */
import * as tf from '@tensorflow/tfjs-core';
import { cast, type DType } from '../src/index.ts';
import { type BackendName, onBackends } from './testing.ts';

/** The tests that `define` makes, once on each backend, with the dtypes that it has. */
export function onDtypes(define: (name: BackendName, dtypes: readonly DType[]) => void): void {
  onBackends((name) => define(name, name === 'cpu' ? ['float32', 'int32', 'bfloat16'] : ['float32', 'int32']));
}

/** 0, 1, 2, ... in this shape. All are whole numbers that bfloat16 has, too, up to 256. */
export function tensorOf(shape: readonly number[], dtype: DType): tf.Tensor {
  const count = shape.reduce((product, length) => product * length, 1);
  const numbers = Array.from({ length: count }, (_, i) => i);
  if (dtype === 'int32') return tf.tensor(Int32Array.from(numbers), [...shape], 'int32');
  return tf.tidy(() => cast(tf.tensor(Float32Array.from(numbers), [...shape], 'float32'), dtype));
}
