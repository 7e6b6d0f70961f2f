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
import { attr, type Buffer, BYTES, type DType, dtypeOf, execute, executeMany, tensorflow } from './tensorflow.ts';

export class Variable {
  readonly handle: Tensor;
  readonly dtype: DType;
  readonly #buffer: Buffer;
  static #made = 0; // TensorFlow finds resources by name: each needs its own

  /** Takes `initial`'s value; the caller goes on owning `initial`. */
  constructor(initial: Tensor) {
    this.dtype = dtypeOf(initial);
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
    this.#buffer = tensorflow().allocate(initial.size * BYTES[this.dtype]);
    this.assign(initial);
  }

  assign(value: Tensor): void {
    executeMany('AssignVariableOp', [this.handle, value], [attr.type('dtype', this.dtype)], 0);
  }

  /** The value, in the variable's own memory. */
  read(): Tensor {
    const attributes = [attr.type('dtype', this.dtype)];
    return tensorflow().view(this.#buffer, () => execute('ReadVariableOp', [this.handle], attributes));
  }

  dispose(): void {
    executeMany('DestroyResourceOp', [this.handle], [attr.bool('ignore_lookup_error', false)], 0);
    tensorflow().release(this.#buffer);
    this.handle.dispose();
  }
}
