/**
 * AdamW on TensorFlow: one op for all parameters, which reads everything once and writes it where it was.
 *
 * tfjs tensors never change, so this steps out of tfjs's rules, and keeps to one of its own: memory that the op writes
 * is made here, by ops that copy, and nobody else's tensor lies in it.
 */
import type { Parameter } from '@fourfold/ops';
import { attr, cast, type DType, dtypeOf, execute, executeMany, hostFloats, keyOf } from '@fourfold/runtime';
import { ints } from '@fourfold/runtime/shapes';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { AdamWOptions, Rates, States } from './adamw.ts';

/** What one parameter has here. The weight is its value too, and its own to dispose of. */
interface State {
  weight: Tensor;
  /** Of bfloat16 weights: the float32 numbers that they are rounded from. None with stochastic rounding. */
  masters: Tensor[];
  readonly m: Tensor;
  readonly v: Tensor;
  /** Where its random bits come from: the same on all ranks that hold the parameter, so that they round alike. */
  readonly key: number;
}

export class InPlaceStates implements States {
  readonly #options: Required<AdamWOptions>;
  readonly #states: ReadonlyMap<Parameter, State>;

  constructor(parameters: readonly Parameter[], options: Required<AdamWOptions>) {
    const { moments, masterWeights, seed } = options;
    const stateOf = (parameter: Parameter): State => {
      const [m, v] = tf.tidy(() => [zerosLike(parameter.value, moments), zerosLike(parameter.value, moments)]);
      return { ...takeOver(parameter, masterWeights), m, v, key: keyOf(seed, parameter.name)[0] };
    };
    this.#options = options;
    this.#states = new Map(parameters.map((parameter) => [parameter, stateOf(parameter)]));
  }

  update(rates: Rates): void {
    const moved = [...this.#states].filter(([{ grad }]) => grad);
    for (const [parameter, state] of moved) {
      if (parameter.value === state.weight) continue;
      tf.dispose(state.masters); // somebody loaded other weights
      Object.assign(state, takeOver(parameter, this.#options.masterWeights));
    }
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const some = moved.filter(([{ value }]) => dtypeOf(value) === dtype);
      if (some.length > 0) this.#move(some, dtype, rates);
    }
  }

  /** Parameters of one dtype. */
  #move(some: readonly [Parameter, State][], dtype: DType, { learningRate, step, squares, clip = 0 }: Rates): void {
    const { beta1, beta2, epsilon, weightDecay, moments } = this.#options;
    const [parameters, states] = [some.map(([parameter]) => parameter), some.map(([, state]) => state)];
    const masters = states.flatMap((state) => state.masters);
    const toOne = [beta1, beta2].map((beta) => 1 - Math.fround(beta) ** step); // with β as the kernel sees it
    const rest = tf.tidy(() => [
      squares?.clone() ?? tf.scalar(0),
      hostFloats([learningRate, beta1, beta2, epsilon, ...toOne, weightDecay, squares ? clip : 0, step]),
      ints(...parameters.map(({ decays }) => Number(decays))),
      ints(...states.map(({ key }) => key)),
    ]);
    const lists = [states.map(({ weight }) => weight), masters, states.map(({ m }) => m), states.map(({ v }) => v)];
    const grads = parameters.map(({ grad }) => grad as Tensor);
    const counts = [attr.int('N', some.length), attr.int('K', masters.length)];
    const attributes = [...counts, attr.type('T', dtype), attr.type('M', moments)];
    executeMany('FourfoldAdamW', [...lists.flat(), ...grads, ...rest], attributes, 0);
    tf.dispose(rest);
  }

  dispose(): void {
    for (const { masters, m, v } of this.#states.values()) tf.dispose([...masters, m, v]);
  }
}

/** Replaces the parameter's value by a copy that is nobody else's, with masters where it needs them. */
function takeOver(parameter: Parameter, masterWeights: boolean): { weight: Tensor; masters: Tensor[] } {
  const { value, dtype } = parameter;
  const [weight, ...masters] = tf.tidy((): [Tensor, ...Tensor[]] => {
    if (dtype === 'float32') return [execute('DeepCopy', [value], [attr.type('T', dtype)])];
    const wide = cast(value, 'float32'); // DeepCopy has no bfloat16 on GPUs; a cast there and back copies as well
    return masterWeights ? [cast(wide, dtype), wide] : [cast(wide, dtype)];
  });
  value.dispose();
  parameter.value = weight;
  return { weight, masters };
}

const zerosLike = (x: Tensor, dtype: DType): Tensor => execute('ZerosLike', [cast(x, dtype)], [attr.type('T', dtype)]);
