/**
 * A trained tensor and the gradient that backward adds to it.
 */

import { cast, type DType, dtypeOf } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { add } from './kernels.ts';

/** Which part of the full tensor this rank holds: part `index` of `of` equal parts along `axis`. */
export interface Shard {
  readonly axis: number;
  readonly index: number;
  readonly of: number;
}

export class Parameter {
  /** Hugging Face's name for it, such as "model.layers.0.mlp.up_proj.weight". */
  readonly name: string;
  /** The shape of what this rank holds. */
  readonly shape: readonly number[];
  readonly shard: Shard | undefined;
  /** float32 or bfloat16. The optimizer replaces it. */
  value: Tensor;
  /** float32 whatever the value's dtype: many small gradients are added up here. Undefined until the first arrives. */
  grad: Tensor | undefined;

  /** Owns `value` from here on. */
  constructor(name: string, value: Tensor, shard?: Shard) {
    this.name = name;
    this.shape = value.shape;
    this.shard = shard;
    this.value = value;
  }

  get dtype(): DType {
    return dtypeOf(this.value);
  }

  /** grad += g. Takes g over: the caller no longer owns it. */
  accumulate(g: Tensor): void {
    const wide = cast(g, 'float32');
    g.dispose();
    const before = this.grad;
    this.grad = before ? add(before, wide) : wide;
    if (before) tf.dispose([before, wide]);
  }

  /** Forgets the gradient: the next step's first one starts anew. */
  clearGradient(): void {
    this.grad?.dispose();
    this.grad = undefined;
  }

  dispose(): void {
    this.clearGradient();
    this.value.dispose();
  }
}
