import { Parameter } from '@fourfold/ops';
import { keyOf, memory, normals } from '@fourfold/runtime';
import { onBackends } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { AdamW, clipFactor, type ParameterState, squaredNorm } from '../src/index.ts';

const OPTIONS = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 };
const RATE = 0.01;
type Tensors = [tf.Tensor, tf.Tensor, tf.Tensor];

const numbers = (name: string, count: number): Float32Array => normals(keyOf(1, name), 0, count);
const parameter = (name: string, shape: number[]): Parameter =>
  Parameter.of(
    name,
    tf.tensor(
      numbers(
        name,
        shape.reduce((a, b) => a * b, 1),
      ),
      shape,
    ),
  );

/** Gives every parameter the gradient of step `step`. */
function giveGradients(parameters: Parameter[], step: number): void {
  for (const p of parameters)
    p.accumulate(tf.tensor(numbers(`${p.name} gradient ${step}`, p.value.size), [...p.shape]));
}

/** AdamW in 64 bits, as the head of adamw.ts writes it, on the same gradients. */
function inDoubles(name: string, shape: number[], steps: number, decay: number, factor: (step: number) => number) {
  const w = Float64Array.from(
    numbers(
      name,
      shape.reduce((a, b) => a * b, 1),
    ),
  );
  const [m, v] = [new Float64Array(w.length), new Float64Array(w.length)];
  const { beta1, beta2, epsilon } = OPTIONS;
  for (let t = 1; t <= steps; t++) {
    const g = numbers(`${name} gradient ${t}`, w.length);
    for (let i = 0; i < w.length; i++) {
      const slope = (g[i] as number) * factor(t);
      m[i] = beta1 * (m[i] as number) + (1 - beta1) * slope;
      v[i] = beta2 * (v[i] as number) + (1 - beta2) * slope ** 2;
      const [mHat, vHat] = [(m[i] as number) / (1 - beta1 ** t), (v[i] as number) / (1 - beta2 ** t)];
      w[i] = (w[i] as number) * (1 - RATE * decay) - (RATE * mHat) / (Math.sqrt(vHat) + epsilon);
    }
  }
  return w;
}

/** The length of all gradients of a step. */
const lengthOf = (shapes: [string, number[]][], step: number): number =>
  Math.hypot(
    ...shapes.flatMap(([name, shape]) => [...numbers(`${name} gradient ${step}`, tf.util.sizeFromShape(shape))]),
  );

/** The largest difference. */
const gap = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] as number))), 0);

onBackends(() => {
  test('ten steps are those of a loop in 64 bits, clipped or not, with decay on matrices alone', async () => {
    const shapes: [string, number[]][] = [
      ['matrix', [5, 7]],
      ['stack', [2, 3, 4]],
      ['norm', [9]],
    ];
    for (const clip of [0, 9]) {
      const parameters = shapes.map(([name, shape]) => parameter(name, shape));
      const adam = new AdamW(parameters, OPTIONS);
      for (let step = 1; step <= 10; step++) {
        giveGradients(parameters, step);
        const squares = squaredNorm(parameters);
        adam.update(RATE, { squares, clip });
        squares.dispose();
      }
      expect(adam.step).toBe(10);
      for (const [i, [name, shape]] of shapes.entries()) {
        const expected = inDoubles(name, shape, 10, shape.length >= 2 ? OPTIONS.weightDecay : 0, (step) =>
          clipFactor(lengthOf(shapes, step), clip),
        );
        // Weights of up to 3 round at 1.2e-7, ten times; moves of 0.01 are good to seven digits.
        expect(gap(await (parameters[i] as Parameter).value.data(), expected)).toBeLessThan(1e-6);
      }
      adam.dispose();
      for (const p of parameters) p.dispose();
    }
  });

  test('the first step goes one learning rate against the sign of each gradient', async () => {
    const p = Parameter.of('w', tf.tensor1d([1, 2, 3]));
    const adam = new AdamW([p]);
    p.accumulate(tf.tensor1d([1e-3, -1e3, 5]));
    adam.update(0.1);
    expect(gap(await p.value.data(), [0.9, 2.1, 2.9])).toBeLessThan(2e-6); // epsilon is 1e-5 of the first gradient
    adam.dispose();
    p.dispose();
  });

  test('a parameter without a gradient stays as it is, and gradients are cleared', async () => {
    const [moved, still] = [parameter('moved', [2, 2]), parameter('still', [2, 2])];
    const adam = new AdamW([moved, still], OPTIONS);
    giveGradients([moved], 1);
    adam.update(RATE);
    expect(Array.from(await still.value.data())).toEqual(Array.from(numbers('still', 4)));
    expect([moved.grad, still.grad]).toEqual([undefined, undefined]);
    adam.dispose();
    for (const p of [moved, still]) p.dispose();
  });

  test('weights put in from outside between two steps are those that the next step moves', async () => {
    const p = parameter('w', [2, 3]);
    const adam = new AdamW([p], OPTIONS);
    giveGradients([p], 1);
    adam.update(RATE);
    p.value.dispose();
    p.value = tf.fill([2, 3], 100);
    giveGradients([p], 2);
    adam.update(RATE);
    // 100 less a decay of 0.1, moved by at most some learning rates.
    for (const w of await p.value.data()) expect(Math.abs(w - 99.9)).toBeLessThan(0.05);
    adam.dispose();
    p.dispose();
  });

  test('restored in another AdamW, it goes on with the same bits', async () => {
    const shapes: [string, number[]][] = [
      ['a', [4, 6]],
      ['b', [5]],
    ];
    const run = (parameters: Parameter[], adam: AdamW, from: number, to: number) => {
      for (let step = from; step <= to; step++) {
        giveGradients(parameters, step);
        adam.update(RATE);
      }
    };
    const before = memory();
    const [first, second] = [shapes, shapes].map((some) => some.map(([name, shape]) => parameter(name, shape)));
    const [whole, resumed] = [new AdamW(first as Parameter[], OPTIONS), new AdamW(second as Parameter[], OPTIONS)];
    run(first as Parameter[], whole, 1, 3);
    const copy = (p: Parameter): ParameterState => {
      const { weight, m, v } = whole.stateOf(p);
      const [w, n, o] = [weight, m, v].map((x) => tf.tensor(x.dataSync().slice(), x.shape)) as Tensors;
      return { weight: w, m: n, v: o };
    };
    resumed.restore(whole.step, new Map((second as Parameter[]).map((p, i) => [p, copy(first?.[i] as Parameter)])));
    run(first as Parameter[], whole, 4, 6);
    run(second as Parameter[], resumed, 4, 6);
    for (const [i, p] of (second as Parameter[]).entries())
      expect(await p.value.data()).toEqual(await first?.[i]?.value.data());
    for (const adam of [whole, resumed]) adam.dispose();
    for (const p of [first, second].flat()) p?.dispose();
    expect([memory().tensors, memory().bytes]).toEqual([before.tensors, before.bytes]);
  });

  test('nothing is left behind: no tensor by a step, no byte after dispose', async () => {
    const start = memory();
    const parameters = [parameter('a', [4, 4]), parameter('b', [3])];
    const adam = new AdamW(parameters, OPTIONS);
    const before = memory().tensors;
    for (let step = 1; step <= 3; step++) {
      giveGradients(parameters, step);
      adam.update(RATE);
      expect(memory().tensors).toBe(before);
    }
    adam.dispose();
    for (const p of parameters) p.dispose();
    expect([memory().tensors, memory().bytes]).toEqual([start.tensors, start.bytes]);
  });
});
