import { Parameter } from '@fourfold/ops';
import { cast, dtypeOf, keyOf, memory, normals, read } from '@fourfold/runtime';
import { onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { AdamW } from '../src/index.ts';

const OPTIONS = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 };
const RATE = 0.01;

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
function inDoubles(name: string, shape: number[], steps: number, decay: number, scale = 1): Float64Array {
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
      const slope = (g[i] as number) * scale;
      m[i] = beta1 * (m[i] as number) + (1 - beta1) * slope;
      v[i] = beta2 * (v[i] as number) + (1 - beta2) * slope ** 2;
      const [mHat, vHat] = [(m[i] as number) / (1 - beta1 ** t), (v[i] as number) / (1 - beta2 ** t)];
      w[i] = (w[i] as number) * (1 - RATE * decay) - (RATE * mHat) / (Math.sqrt(vHat) + epsilon);
    }
  }
  return w;
}

/** The largest difference. */
const gap = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] as number))), 0);

onBackends(() => {
  test('ten steps are those of a loop in 64 bits, with decay on matrices alone', async () => {
    const shapes: [string, number[]][] = [
      ['matrix', [5, 7]],
      ['stack', [2, 3, 4]],
      ['norm', [9]],
    ];
    for (const scale of [1, 0.37]) {
      const parameters = shapes.map(([name, shape]) => parameter(name, shape));
      const adam = new AdamW(parameters, OPTIONS);
      for (let step = 1; step <= 10; step++) {
        giveGradients(parameters, step);
        adam.update(RATE, scale);
      }
      expect(adam.step).toBe(10);
      for (const [i, [name, shape]] of shapes.entries()) {
        const expected = inDoubles(name, shape, 10, shape.length >= 2 ? OPTIONS.weightDecay : 0, scale);
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
    const tensor = still.value;
    adam.update(RATE);
    expect(still.value).toBe(tensor);
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

test('a step updates weights and moments in place, unless somebody holds a share of the weights', async () => {
  await useBackend('cpu');
  const p = Parameter.of('w', tf.zeros([SIDE])); // one dimension: no decay, which would make a new weight
  const adam = new AdamW([p]);
  for (let step = 1; step <= 3; step++) {
    p.accumulate(tf.fill([SIDE], 1)); // made by TensorFlow: values from JavaScript are copied when first used
    const grown = growth(() => adam.update(RATE));
    if (step > 1) expect(grown).toBeLessThan(0.25); // the first moves the zeros out of JavaScript's memory
  }
  p.accumulate(tf.fill([SIDE], 1));
  const held = p.value.clone();
  expect(growth(() => adam.update(RATE))).toBeGreaterThan(0.75); // so the above does say something
  held.dispose();
  adam.dispose();
  p.dispose();
});

const SIDE = 4 * 2 ** 20; // 16 MiB

/** By how many tensors of that size the process's peak of memory grows in `work`. */
function growth(work: () => void): number {
  const peak = () => (process.resourceUsage().maxRSS * 1024) / (4 * SIDE);
  // First use up what was freed and not given back, so that no tensor can be made without the process growing.
  const ballast: tf.Tensor[] = [];
  let before: number;
  do {
    before = peak();
    ballast.push(tf.fill([SIDE], 1));
  } while (peak() - before < 0.9);
  before = peak();
  work();
  const grown = peak() - before;
  tf.dispose(ballast);
  return grown;
}

test('a share of the weights that somebody holds over a step keeps the old numbers', async () => {
  await useBackend('cpu');
  const p = Parameter.of('w', tf.tensor1d([1, 2]));
  const adam = new AdamW([p]);
  for (const expected of [
    [1, 2],
    [0.5, 1.5],
  ]) {
    const held = p.value.clone();
    p.accumulate(tf.ones([2]));
    adam.update(0.5);
    expect(gap(await held.data(), expected)).toBeLessThan(1e-6);
    held.dispose();
  }
  adam.dispose();
  p.dispose();
});

test('bfloat16 weights follow float32 ones, so that steps too small for bfloat16 are not lost', async () => {
  await useBackend('cpu');
  const start = memory();
  const value = tf.tidy(() => cast(tf.ones([2, 2]), 'bfloat16'));
  const p = Parameter.of('w', value);
  const adam = new AdamW([p]);
  for (let step = 1; step <= 100; step++) {
    p.accumulate(tf.ones([2, 2]));
    adam.update(1e-4); // bfloat16 has no number between 1 and 1 - 2^-8 = 0.9961
    if (step === 1) expect(Array.from(await read(p.value))).toEqual([1, 1, 1, 1]);
  }
  expect(dtypeOf(p.value)).toBe('bfloat16');
  for (const w of await read(p.value)) expect(w).toBe(0.98828125); // 1 - 100 · 1e-4 = 0.99, to the nearest in bfloat16
  adam.dispose();
  p.dispose();
  expect([memory().tensors, memory().bytes]).toEqual([start.tensors, start.bytes]);
});
