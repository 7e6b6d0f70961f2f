/**
 * AdamW on TensorFlow: one op for all parameters, which reads everything once and writes it where it was.
 *
 * tfjs tensors never change, so this steps out of tfjs's rules, and keeps to one of its own: memory that the op writes
 * is made here, by ops that copy, and nobody else's tensor lies in it.
 */
import type { Parameter } from '@fourfold/ops';
import { attr, cast, type DType, dtypeOf, execute, executeMany, hostFloats, keyOf, zeros } from '@fourfold/runtime';
import { ints } from '@fourfold/runtime/shapes';
import { together } from '@fourfold/runtime/together';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { AdamWOptions, ParameterState, Rates, States } from './adamw.ts';

const DTYPES = ['float32', 'bfloat16'] as const;

/** What one parameter has here. The weight is its value too, and its own to dispose of. */
interface State {
  weight: Tensor;
  /** Of bfloat16 weights: the float32 numbers that they are rounded from. None with stochastic rounding. */
  masters: Tensor[];
  m: Tensor;
  v: Tensor;
  /** Where its random bits come from: the same on all ranks that hold the parameter, so that they round alike. */
  readonly key: number;
}

export class InPlaceStates implements States {
  readonly #options: Required<AdamWOptions>;
  readonly #states: ReadonlyMap<Parameter, State>;

  constructor(parameters: readonly Parameter[], options: Required<AdamWOptions>) {
    const { moments, masterWeights, seed } = options;
    const stateOf = (parameter: Parameter, weight: Weight): State => {
      const [m, v] = tf.tidy(() => [zerosLike(parameter.value, moments), zerosLike(parameter.value, moments)]);
      return { ...weight, m, v, key: keyOf(seed, parameter.name)[0] };
    };
    this.#options = options;
    const weights = takeOver(parameters, masterWeights);
    this.#states = new Map(parameters.map((parameter, i) => [parameter, stateOf(parameter, weights[i] as Weight)]));
  }

  update(rates: Rates): void {
    const moved = [...this.#states].filter(([{ grad }]) => grad);
    const replaced = moved.filter(([parameter, state]) => parameter.value !== state.weight);
    const weights = takeOver(
      replaced.map(([parameter]) => parameter),
      this.#options.masterWeights,
    );
    for (const [i, [, state]] of replaced.entries()) {
      tf.dispose(state.masters); // of the weights before somebody loaded others
      Object.assign(state, weights[i]);
    }
    for (const dtype of DTYPES)
      for (const gradDtype of DTYPES) {
        const some = moved.filter((one) => one[0].dtype === dtype && dtypeOf(one[0].grad as Tensor) === gradDtype);
        if (some.length > 0) this.#move(some, [dtype, gradDtype], rates);
      }
  }

  /** Parameters of one dtype, with gradients of one. */
  #move(some: readonly [Parameter, State][], [dtype, gradDtype]: [DType, DType], rates: Rates): void {
    const { learningRate, step, squares, clip = 0 } = rates;
    const { beta1, beta2, epsilon, weightDecay, moments } = this.#options;
    const [parameters, states] = [some.map(([parameter]) => parameter), some.map(([, state]) => state)];
    const masters = states.flatMap((state) => state.masters);
    const toOne = [beta1, beta2].map((beta) => 1 - Math.fround(beta) ** step); // with β as the kernel sees it
    const rest = tf.tidy(() => [
      squares?.clone() ?? zeros([]),
      hostFloats([learningRate, beta1, beta2, epsilon, ...toOne, weightDecay, squares ? clip : 0, step]),
      ints(...parameters.map(({ decays }) => Number(decays))),
      ints(...states.map(({ key }) => key)),
    ]);
    const lists = [states.map(({ weight }) => weight), masters, states.map(({ m }) => m), states.map(({ v }) => v)];
    const grads = parameters.map(({ grad }) => grad as Tensor);
    const counts = [attr.int('N', some.length), attr.int('K', masters.length)];
    const attributes = [...counts, attr.type('T', dtype), attr.type('M', moments), attr.type('G', gradDtype)];
    executeMany('FourfoldAdamW', [...lists.flat(), ...grads, ...rest], attributes, 0);
    tf.dispose(rest);
  }

  stateOf(parameter: Parameter): ParameterState {
    const { masters, m, v } = this.#states.get(parameter) as State;
    return { weight: parameter.value, ...(masters[0] ? { master: masters[0] } : {}), m, v };
  }

  restore(states: ReadonlyMap<Parameter, ParameterState>): void {
    for (const [parameter, { weight }] of states) {
      parameter.value.dispose();
      parameter.value = weight;
    }
    const weights = takeOver([...states.keys()], this.#options.masterWeights);
    for (const [i, [parameter, { master, m, v }]] of [...states].entries()) {
      const state = this.#states.get(parameter) as State;
      const { weight, masters } = weights[i] as Weight;
      tf.dispose([state.m, state.v, ...state.masters, ...(master ? masters : [])]);
      Object.assign(state, { weight, masters: master ? [own(master)] : masters, m: own(m), v: own(v) });
    }
  }

  dispose(): void {
    for (const { masters, m, v } of this.#states.values()) tf.dispose([...masters, m, v]);
  }
}

type Weight = Pick<State, 'weight' | 'masters'>;

/**
 * Replaces the parameters' values by copies that are nobody else's, with masters where they need them. The copies lie
 * in memory in the parameters' order: what is multiplied together lies together (ops/src/linear.ts).
 */
function takeOver(parameters: readonly Parameter[], masterWeights: boolean): Weight[] {
  const taken = new Map<Parameter, Weight>();
  for (const dtype of DTYPES) {
    const some = parameters.filter((parameter) => parameter.dtype === dtype);
    const [first, ...others] = some.map(({ value }) => value);
    if (!first) continue;
    for (const [i, weight] of together([first, ...others]).entries()) {
      const parameter = some[i] as Parameter;
      const masters = dtype === 'bfloat16' && masterWeights ? [cast(weight, 'float32')] : [];
      taken.set(parameter, { weight, masters });
      parameter.value.dispose();
      parameter.value = weight;
    }
  }
  return parameters.map((parameter) => taken.get(parameter) as Weight);
}

/** The same numbers in memory that nobody else has. Takes x over. */
function own(x: Tensor): Tensor {
  const [copy] = together([x]);
  x.dispose();
  return copy as Tensor;
}

const zerosLike = (x: Tensor, dtype: DType): Tensor => execute('ZerosLike', [cast(x, dtype)], [attr.type('T', dtype)]);
