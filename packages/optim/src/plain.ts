/**
 * AdamW without TensorFlow: the equations, one operation after the other, in float32.
 */
import { kernels, type Parameter } from '@fourfold/ops';
import { UserError } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { AdamWOptions, ParameterState, Rates, States } from './adamw.ts';
import { clipFactorOf } from './clip.ts';

export class PlainStates implements States {
  readonly #options: Required<AdamWOptions>;
  readonly #moments: Map<Parameter, readonly [m: Tensor, v: Tensor]>;

  constructor(parameters: readonly Parameter[], options: Required<AdamWOptions>) {
    if (options.moments !== 'float32')
      throw new UserError(`moments=${options.moments} needs TensorFlow: use float32, or device cpu or cuda`);
    this.#options = options;
    const zeros = ({ shape }: Parameter) => [tf.zeros([...shape]), tf.zeros([...shape])] as const;
    this.#moments = new Map(parameters.map((parameter) => [parameter, zeros(parameter)]));
  }

  update({ squares, clip = 0, ...rates }: Rates): void {
    const factor = squares && clip > 0 ? clipFactorOf(squares, clip) : undefined;
    for (const [parameter, moments] of this.#moments) {
      if (!parameter.grad) continue;
      const old = [...moments, parameter.value];
      const [value, m, v] = this.#moved(parameter, moments, factor, rates);
      tf.dispose(old);
      parameter.value = value;
      this.#moments.set(parameter, [m, v]);
    }
    factor?.dispose();
  }

  #moved(
    parameter: Parameter,
    moments: readonly [m: Tensor, v: Tensor],
    factor: Tensor | undefined,
    rates: Rates,
  ): readonly [value: Tensor, m: Tensor, v: Tensor] {
    const { beta1, beta2, epsilon, weightDecay } = this.#options;
    const { learningRate, step } = rates;
    const { add, scale, square, sub } = kernels;
    const keep = parameter.decays ? 1 - learningRate * weightDecay : 1;
    return tf.tidy(() => {
      const grad = factor ? tf.mul(parameter.grad as Tensor, factor) : (parameter.grad as Tensor);
      const m = add(scale(moments[0], beta1), scale(grad, 1 - beta1));
      const v = add(scale(moments[1], beta2), scale(square(grad), 1 - beta2));
      const size = tf.add(tf.sqrt(scale(v, 1 / (1 - beta2 ** step))), epsilon);
      const move = tf.div(scale(m, learningRate / (1 - beta1 ** step)), size);
      return [sub(scale(parameter.value, keep), move), m, v] as const;
    });
  }

  stateOf(parameter: Parameter): ParameterState {
    const [m, v] = this.#moments.get(parameter) as readonly [Tensor, Tensor];
    return { weight: parameter.value, m, v };
  }

  restore(states: ReadonlyMap<Parameter, ParameterState>): void {
    for (const [parameter, { weight, m, v }] of states) {
      tf.dispose([parameter.value, ...(this.#moments.get(parameter) ?? [])]);
      parameter.value = weight;
      this.#moments.set(parameter, [m, v]);
    }
  }

  dispose(): void {
    for (const moments of this.#moments.values()) tf.dispose([...moments]);
  }
}
