/**
 * AdamW: each weight moves by its gradient's running mean, measured against the gradient's running size.
 *
 *   m = β₁ m + (1 - β₁) g            v = β₂ v + (1 - β₂) g²
 *   w = w - η λ w                    the decay, beside the gradient and not through it
 *   w = w - η · m̂ / (√v̂ + ε)         with m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ)
 *
 * Loshchilov and Hutter, "Decoupled weight decay regularization" (2019). The decay pulls on matrices alone: a norm's
 * weight has no reason to be small.
 *
 * What it keeps of a parameter is a matter of bytes and bits:
 *
 *     weights     moments               beside the weights
 *     float32     float32, 8 bytes      nothing
 *     bfloat16    float32 or bfloat16   float32 masters, 4 bytes: the weights are rounded copies of them
 *     bfloat16    bfloat16, 4 bytes     nothing: each step is rounded up or down at random
 *
 * A step of 0.01 % would vanish in bfloat16's 8 bits. Masters keep it; stochastic rounding keeps it on average.
 */
import type { Parameter } from '@fourfold/ops';
import { onTensorflow } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import { InPlaceStates } from './in-place.ts';
import { PlainStates } from './plain.ts';

/** How AdamW steps. */
export interface AdamWOptions {
  /** Of the mean of gradients, m (default 0.9). */
  readonly beta1?: number;
  /** Of the mean of their squares, v (default 0.95). */
  readonly beta2?: number;
  /** ε, added to √v̂ (default 1e-8). */
  readonly epsilon?: number;
  /** λ, for parameters that decay (default 0). */
  readonly weightDecay?: number;
  /** What m and v are kept in (default float32, the only one without TensorFlow). */
  readonly moments?: 'float32' | 'bfloat16';
  /** Whether bfloat16 weights have float32 masters (default true) or are rounded stochastically. */
  readonly masterWeights?: boolean;
  /** Of stochastic rounding's random bits (default 0). */
  readonly seed?: number;
}

/** Clipping, for gradients whose norm is on the device: nobody reads it. */
export interface Clipping {
  /** The squared norm of all gradients, over all ranks: a 0-d tensor, the caller's. */
  readonly squares?: Tensor;
  /** The largest norm (default 0: any): longer gradients are scaled down to it. Needs `squares`. */
  readonly clip?: number;
}

/** What is the same for all parameters in one step. `step` counts from 1. */
export interface Rates extends Clipping {
  readonly learningRate: number;
  readonly step: number;
}

/** What a parameter's next step depends on. The master is there where AdamW keeps one. */
export interface ParameterState {
  /** The parameter's value, in the model's dtype. */
  readonly weight: Tensor;
  /** The same in float32. */
  readonly master?: Tensor;
  /** The running mean of its gradients. */
  readonly m: Tensor;
  /** The running mean of their squares. */
  readonly v: Tensor;
}

/** What holds the moments of parameters, and moves those that have a gradient. */
export interface States {
  update(rates: Rates): void;
  /** The tensors themselves: the next update may change them. */
  stateOf(parameter: Parameter): ParameterState;
  /** Puts others in the place of all parameters' states, and takes them over. */
  restore(states: ReadonlyMap<Parameter, ParameterState>): void;
  dispose(): void;
}

/**
 * On TensorFlow weights change where they lie. At construction every parameter gets a copy of its value that nobody
 * else holds; whoever clones that copy later sees it change with every update. A value put in from outside is noticed
 * by the next update, and copied likewise.
 */
export class AdamW {
  /** Updates made so far. Random bits depend on it: a run that goes on where another ended sets it. */
  step = 0;
  readonly #parameters: readonly Parameter[];
  readonly #states: States;

  /** @throws UserError for bfloat16 moments without TensorFlow */
  constructor(parameters: readonly Parameter[], options: AdamWOptions = {}) {
    const all = { ...DEFAULTS, ...options };
    this.#parameters = parameters;
    this.#states = onTensorflow() ? new InPlaceStates(parameters, all) : new PlainStates(parameters, all);
  }

  /** Moves every parameter that has a gradient, and clears the gradients. The learning rate is η, this step's. */
  update(learningRate: number, clipping: Clipping = {}): void {
    this.step += 1;
    this.#states.update({ ...clipping, learningRate, step: this.step });
    for (const parameter of this.#parameters) parameter.clearGradient();
  }

  /** What a checkpoint keeps of a parameter; not copies: the next update changes them. */
  stateOf(parameter: Parameter): ParameterState {
    return this.#states.stateOf(parameter);
  }

  /** Goes on where another AdamW was after so many updates. Takes over the states, one of each parameter. */
  restore(step: number, states: ReadonlyMap<Parameter, ParameterState>): void {
    this.step = step;
    this.#states.restore(states);
  }

  /** Frees all states; the values stay the parameters'. */
  dispose(): void {
    this.#states.dispose();
  }
}

const DEFAULTS: Required<AdamWOptions> = {
  ...{ beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0 },
  ...{ moments: 'float32', masterWeights: true, seed: 0 },
};
