/**
 * A trained tensor and the gradient that backward adds to it.
 *
 * A parameter is known before it has a value: a model is described, then cut for its ranks, and only what is left of it
 * on a rank is ever allocated.
 */

import type { ProcessGroup } from '@fourfold/process-group';
import { cast, type DType, dtypeOf } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import { add, slice } from './kernels.ts';

/** Which part of the whole tensor this rank holds: part `index` of `of` equal parts along `axis`. */
export interface Shard {
  /** Counted from 0; the whole tensor's length along it is a multiple of `of`. */
  readonly axis: number;
  /** From 0 to `of` - 1. */
  readonly index: number;
  /** How many parts there are. */
  readonly of: number;
}

/** Elements `from` up to `to`, in row-major order, of what this rank holds of `of`; they lie at `at` and behind. */
export interface Range {
  /** The parameter that the elements are of. */
  readonly of: Parameter;
  /** The first of them. */
  readonly from: number;
  /** The first after them. */
  readonly to: number;
  /** Where they begin here, in elements. */
  readonly at: number;
}

/** A trained tensor, or this rank's part of one. */
export class Parameter {
  /** Hugging Face's name for it, such as "model.layers.0.mlp.up_proj.weight". */
  readonly name: string;
  /** Of the whole tensor, over all ranks. */
  readonly fullShape: readonly number[];
  /** Set before there is a value. */
  shard: Shard | undefined;
  /** Of gradDtype. Undefined until the first arrives. */
  grad: Tensor | undefined;
  /**
   * Default float32, whatever the value's dtype, since many small gradients are added up. Where a step has one alone,
   * bfloat16 costs it one rounding, and halves its bytes in memory and on the way to other ranks.
   */
  readonly gradDtype: DType;
  /** Whether weight decay pulls on it: by default on matrices, not on the weights of norms. */
  decays: boolean;

  /** How many gradients one backward pass accumulates: 2 for an embedding that is the output's weight too. */
  uses = 1;
  /** How many ranks of the world hold these values: in a sum over all ranks each counts for 1 / replicas of them. */
  replicas = 1;
  /** Ranks whose gradients must be added up, since each of them has seen only a part of what the parameter did. */
  partial: ProcessGroup | undefined;
  /** With ZeRO: what of the model's parameters this one is made of. Undefined: it is one of them. */
  ranges: readonly Range[] | undefined;
  /** Called after each accumulation. */
  onAccumulate: (() => void) | undefined;
  #value: Tensor | undefined;

  constructor(name: string, fullShape: readonly number[], gradDtype: DType = 'float32') {
    this.name = name;
    this.fullShape = fullShape;
    this.gradDtype = gradDtype;
    this.decays = fullShape.length >= 2;
  }

  /** A whole parameter that has a value, which it owns from here on. */
  static of(name: string, value: Tensor, gradDtype?: DType): Parameter {
    const parameter = new Parameter(name, value.shape, gradDtype);
    parameter.value = value;
    return parameter;
  }

  /** The shape of what this rank holds. */
  get shape(): readonly number[] {
    const { shard } = this;
    return shard ? this.fullShape.map((side, axis) => (axis === shard.axis ? side / shard.of : side)) : this.fullShape;
  }

  /**
   * Of this rank's `shape`, float32 or bfloat16; the parameter's own.
   *
   * @throws Error where it has none yet
   */
  get value(): Tensor {
    if (!this.#value) throw new Error(`${this.name} has no value yet: initialize the model first`);
    return this.#value;
  }

  /**
   * Takes the tensor over. The former one is whose who replaces it.
   *
   * @throws Error where its shape is not `shape`
   */
  set value(value: Tensor) {
    if (`${value.shape}` !== `${this.shape}`)
      throw new Error(`${this.name}: a tensor of shape [${value.shape}], but this rank's part has [${this.shape}]`);
    this.#value = value;
  }

  /** Of the value: float32 or bfloat16. */
  get dtype(): DType {
    return dtypeOf(this.value);
  }

  /** grad += g, in gradDtype. Takes g over: no longer the caller's, and what it shares may be written to later. */
  accumulate(g: Tensor): void {
    const added = cast(g, this.gradDtype);
    g.dispose();
    this.accumulateInto((grad) => {
      if (!grad) return added;
      const sum = add(grad, added);
      added.dispose();
      return sum;
    });
  }

  /**
   * The same for a gradient that is added where the former ones lie: `write` gets their sum (undefined: none yet) and
   * returns the new one, which may have the same memory. Both belong to the parameter.
   */
  accumulateInto(write: (grad: Tensor | undefined) => Tensor): void {
    const before = this.grad;
    this.grad = write(before);
    if (this.grad !== before) before?.dispose();
    this.onAccumulate?.();
  }

  /** Forgets the gradient: the next step's first one starts anew. */
  clearGradient(): void {
    this.grad?.dispose();
    this.grad = undefined;
  }

  /** Frees value and gradient. */
  dispose(): void {
    this.clearGradient();
    this.#value?.dispose();
    this.#value = undefined;
  }
}

/** A rank's part of a whole tensor; without a shard all of it. A new tensor. */
export function partOf(whole: Tensor, shard: Shard | undefined): Tensor {
  if (!shard) return whole.clone();
  const length = (whole.shape[shard.axis] as number) / shard.of;
  return slice(whole, shard.axis, shard.index * length, length);
}
