/**
 * A tensor that kernels update in place: TensorFlow's resource variable.
 *
 * tfjs tensors never change. An optimizer that makes a new tensor of every weight and moment at each step would touch
 * memory twice as often as it must, so AdamW keeps them here and TensorFlow's fused update writes where it reads.
 *
 * `read` shares the variable's memory. As long as what it returned is alive the next update must copy first, so
 * dispose of it before the update and read again after.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { attr, BYTES, type DType, dtypeOf, execute, executeMany, tensorflow } from './tensorflow.ts';

export class Variable {
  readonly handle: Tensor;
  readonly dtype: DType;
  readonly #bytes: number;
  static #made = 0; // TensorFlow finds resources by name: each needs its own

  /** Takes `initial`'s value; the caller goes on owning `initial`. */
  constructor(initial: Tensor) {
    this.dtype = dtypeOf(initial);
    this.#bytes = initial.size * BYTES[this.dtype];
    this.handle = execute(
      'VarHandleOp',
      [],
      [
        attr.string('container', ''),
        attr.string('shared_name', `fourfold-${++Variable.#made}`),
        attr.type('dtype', this.dtype),
        attr.shape('shape', initial.shape),
      ],
    );
    tensorflow().hold(this.#bytes);
    this.assign(initial);
  }

  assign(value: Tensor): void {
    executeMany('AssignVariableOp', [this.handle, value], [attr.type('dtype', this.dtype)], 0);
  }

  /** The value, in the variable's own memory. */
  read(): Tensor {
    return execute('ReadVariableOp', [this.handle], [attr.type('dtype', this.dtype)]);
  }

  dispose(): void {
    executeMany('DestroyResourceOp', [this.handle], [attr.bool('ignore_lookup_error', false)], 0);
    tensorflow().hold(-this.#bytes);
    this.handle.dispose();
  }
}
