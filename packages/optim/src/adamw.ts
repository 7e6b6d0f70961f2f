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
 * m, v and the weights being updated are float32, 12 bytes a parameter. Where the model's weights are bfloat16 they are
 * rounded copies of those: a step of 0.01 % would vanish in bfloat16's 8 bits.
 */
import { kernels, type Parameter } from '@fourfold/ops';
import { attr, cast, executeMany, onTensorflow, Variable } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

export interface AdamWOptions {
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  /** λ, for parameters that decay. */
  readonly weightDecay?: number;
}

/** What is the same for all parameters in one step. */
interface Rates {
  readonly learningRate: number;
  /** From 1. */
  readonly step: number;
  /** On TensorFlow: β₁ᵗ, β₂ᵗ, η, β₁, β₂ and ε̂ as 0-d tensors, in ResourceApplyAdam's order. */
  readonly scalars: Tensor[];
}

/** What holds one parameter's weight and moments, and updates them. */
interface State {
  /** `keep` is 1 - η λ: what decay leaves of the weight. */
  update(grad: Tensor, keep: number, rates: Rates): void;
  dispose(): void;
}

export class AdamW {
  /** Updates made so far. */
  step = 0;
  readonly #options: Required<AdamWOptions>;
  readonly #states: { parameter: Parameter; state: State }[];

  constructor(parameters: readonly Parameter[], options: AdamWOptions = {}) {
    this.#options = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0, ...options };
    const State = onTensorflow() ? FusedState : PlainState;
    this.#states = parameters.map((parameter) => ({ parameter, state: new State(parameter, this.#options) }));
  }

  /** Moves every parameter that has a gradient, and clears the gradients. `scale` is clipping's factor for them. */
  update(learningRate: number, scale = 1): void {
    this.step += 1;
    const rates = { learningRate, step: this.step, scalars: onTensorflow() ? this.#scalars(learningRate) : [] };
    for (const { parameter, state } of this.#states) {
      if (!parameter.grad) continue;
      const grad = kernels.scale(parameter.grad, scale);
      const keep = parameter.decays ? 1 - learningRate * this.#options.weightDecay : 1;
      state.update(grad, keep, rates);
      grad.dispose();
      parameter.clearGradient();
    }
    tf.dispose(rates.scalars);
  }

  #scalars(learningRate: number): Tensor[] {
    const { beta1, beta2, epsilon } = this.#options;
    const power2 = beta2 ** this.step;
    const numbers = [beta1 ** this.step, power2, learningRate, beta1, beta2, epsilon * Math.sqrt(1 - power2)];
    return numbers.map((number) => tf.scalar(number));
  }

  dispose(): void {
    for (const { state } of this.#states) state.dispose();
  }
}

// ## On TensorFlow: one fused kernel, in place

const RESOURCE_ADAM = [attr.type('T', 'float32'), attr.bool('use_locking', false), attr.bool('use_nesterov', false)];

/**
 * Weight and moments as TensorFlow variables, which ResourceApplyAdam reads and writes in one pass.
 *
 * TensorFlow writes Adam with ε beside √v instead of √v̂ (Kingma and Ba's "ε̂"): w -= η √(1-β₂ᵗ)/(1-β₁ᵗ) · m/(√v + ε̂).
 * The two are the same with ε̂ = ε √(1-β₂ᵗ).
 */
class FusedState implements State {
  readonly #parameter: Parameter;
  readonly #weight: Variable;
  readonly #m: Variable;
  readonly #v: Variable;
  #lastValue: Tensor;

  constructor(parameter: Parameter) {
    this.#parameter = parameter;
    const made = tf.tidy(() => [
      cast(parameter.value, 'float32'),
      tf.zeros([...parameter.shape]),
      tf.zeros([...parameter.shape]),
    ]);
    [this.#weight, this.#m, this.#v] = made.map((initial) => new Variable(initial)) as [Variable, Variable, Variable];
    tf.dispose(made);
    this.#lastValue = parameter.value;
  }

  update(grad: Tensor, keep: number, { scalars }: Rates): void {
    const parameter = this.#parameter;
    const dtype = parameter.dtype;
    if (parameter.value !== this.#lastValue) this.#assign(parameter.value); // somebody loaded other weights
    parameter.value.dispose(); // the variable alone holds the memory now: the update needs no copy
    if (keep !== 1) this.#decay(keep);
    const state = [this.#weight.handle, this.#m.handle, this.#v.handle];
    executeMany('ResourceApplyAdam', [...state, ...scalars, grad], RESOURCE_ADAM, 0);
    parameter.value = tf.tidy(() => cast(this.#weight.read(), dtype));
    this.#lastValue = parameter.value;
  }

  #assign(value: Tensor): void {
    const wide = cast(value, 'float32');
    this.#weight.assign(wide);
    wide.dispose();
  }

  #decay(keep: number): void {
    tf.tidy(() => this.#weight.assign(kernels.scale(this.#weight.read(), keep)));
  }

  dispose(): void {
    for (const variable of [this.#weight, this.#m, this.#v]) variable.dispose();
  }
}

// ## Elsewhere: the equations, one operation after the other

class PlainState implements State {
  readonly #parameter: Parameter;
  readonly #options: Required<AdamWOptions>;
  #m: Tensor;
  #v: Tensor;

  constructor(parameter: Parameter, options: Required<AdamWOptions>) {
    this.#parameter = parameter;
    this.#options = options;
    this.#m = tf.zeros([...parameter.shape]);
    this.#v = tf.zeros([...parameter.shape]);
  }

  update(grad: Tensor, keep: number, { learningRate, step }: Rates): void {
    const { beta1, beta2, epsilon } = this.#options;
    const { add, scale, square, sub } = kernels;
    const old = [this.#m, this.#v, this.#parameter.value];
    const [m, v, value] = tf.tidy(() => {
      const m = add(scale(this.#m, beta1), scale(grad, 1 - beta1));
      const v = add(scale(this.#v, beta2), scale(square(grad), 1 - beta2));
      const size = tf.add(tf.sqrt(scale(v, 1 / (1 - beta2 ** step))), epsilon);
      const move = tf.div(scale(m, learningRate / (1 - beta1 ** step)), size);
      return [m, v, sub(scale(this.#parameter.value, keep), move)] as const;
    });
    tf.dispose(old);
    [this.#m, this.#v, this.#parameter.value] = [m, v, value];
  }

  dispose(): void {
    tf.dispose([this.#m, this.#v]);
  }
}
