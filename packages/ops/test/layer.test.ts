import { memory } from '@fourfold/runtime';
import { expectNoLeak, onBackends } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import {
  chain,
  each,
  fanOut,
  identity,
  type Layer,
  linear,
  type Parameter,
  pullback,
  recomputed,
  residual,
  rmsNorm,
  swiglu,
} from '../src/index.ts';
import { checkLayer, expectClose, FLOAT32, parameter, randn, single } from './helpers.ts';

const times = (x: tf.Tensor | undefined, w: tf.Tensor | undefined): tf.Tensor =>
  tf.matMul(x as tf.Tensor, w as tf.Tensor, false, true);
const silu = (x: tf.Tensor): tf.Tensor => tf.mul(x, tf.sigmoid(x));

/** Three parameters that fit one after the other on 4 columns, the last leading back to 4. */
const three = (): [Parameter, Parameter, Parameter] => [
  parameter('a', [5, 4]),
  parameter('b', [5, 4]),
  parameter('c', [4, 5]),
];

onBackends(() => {
  test('a pullback frees what it saved when it is called, and when it is dropped', async () => {
    const before = memory().tensors;
    const called = pullback([tf.ones([2]), tf.ones([3])], (dy: number) => 2 * dy);
    const dropped = pullback([tf.ones([2])], (dy: number) => dy);
    expect(memory().tensors - before).toBe(3);
    expect(await called(21)).toBe(42);
    expect(memory().tensors - before).toBe(1);
    dropped.drop();
    expect(memory().tensors).toBe(before);
  });

  test('chain runs forward in order and backward in reverse, freeing what lies between', async () => {
    const [a, , c] = three();
    const d = parameter('d', [3, 4]);
    await checkLayer({
      layer: single(chain(linear(a), linear(c), linear(d))),
      inputs: [randn('x', [6, 4])],
      parameters: [a, c, d],
      reference: ([x], [a, c, d]) => times(times(times(x, a), c), d),
    });
  });

  test('residual adds its input, forward and backward', async () => {
    const [a, b, c] = three();
    b.dispose();
    await checkLayer({
      layer: single(residual(chain(linear(a), linear(c)))),
      inputs: [randn('x', [6, 4])],
      parameters: [a, c],
      reference: ([x], [a, c]) => tf.add(x as tf.Tensor, times(times(x, a), c)),
    });
  });

  test('fanOut, each and chain make a gated MLP: (silu(x · aᵀ) · (x · bᵀ)) · cᵀ', async () => {
    const [a, b, c] = three();
    await checkLayer({
      layer: single(chain(fanOut(linear(a), linear(b)), each(identity, identity), swiglu, linear(c))),
      inputs: [randn('x', [6, 4])],
      parameters: [a, b, c],
      reference: ([x], [a, b, c]) => times(tf.mul(silu(times(x, a)), times(x, b)), c),
    });
  });

  test('each gives every layer its own part', async () => {
    const [a, b, c] = three();
    const parts: Layer<readonly tf.Tensor[]> = chain(each(linear(a), chain(linear(b), linear(c), linear(b))), swiglu);
    await expectNoLeak(async () => {
      const inputs = [randn('x', [6, 4]), randn('z', [6, 4])];
      const [y, pull] = await parts(inputs);
      const wanted = tf.tidy(() =>
        tf.mul(silu(times(inputs[0], a.value)), times(times(times(inputs[1], b.value), c.value), b.value)),
      );
      await expectClose(y, wanted, FLOAT32, 'y');
      pull.drop();
      tf.dispose([...inputs, y, wanted]);
    });
    for (const p of [a, b, c]) p.dispose();
  });

  test('fanOut over three branches, one of them x itself, adds up three gradients', async () => {
    const [a, b, c] = three();
    const addAll: Layer<readonly tf.Tensor[]> = async (xs) => {
      const sum = tf.addN([...xs]);
      return [sum, pullback([], (dy: tf.Tensor) => xs.map(() => dy.clone()))];
    };
    await checkLayer({
      layer: single(chain(fanOut(identity, chain(linear(a), linear(c)), chain(linear(b), linear(c))), addAll)),
      inputs: [randn('x', [6, 4])],
      parameters: [a, b, c],
      reference: ([x], [a, b, c]) => tf.addN([x as tf.Tensor, times(times(x, a), c), times(times(x, b), c)]),
    });
  });

  test('a recomputed layer gives the very same bits', async () => {
    const [plain, again] = [await valuesOf((f) => f), await valuesOf(recomputed)];
    expect(again).toEqual(plain);
  });

  test('a recomputed layer keeps its input alone', async () => {
    const { layer, x, free } = block();
    const before = memory().tensors;
    const [y, pull] = await recomputed(layer)(x);
    expect(memory().tensors - before).toBe(2); // y, and a share of x
    x.dispose(); // the caller may: the share stays
    const dx = await pull(y);
    expect(dx.shape).toEqual([6, 4]);
    tf.dispose([y, dx]);
    free();
  });
});

/** A block as Llama has it: x + mlp(norm(x)). */
function block() {
  const [a, b, c] = three();
  const w = parameter('norm', [4]);
  const mlp = chain(rmsNorm(w, 1e-5), fanOut(linear(a), linear(b)), swiglu, linear(c));
  const parameters = [a, b, c, w];
  return {
    layer: residual(mlp),
    parameters,
    x: randn('x', [6, 4]),
    free: () => {
      for (const p of parameters) p.dispose();
    },
  };
}

/** y, dx and every dw of the block, as plain arrays. */
async function valuesOf(change: (layer: Layer) => Layer): Promise<ArrayLike<number>[]> {
  return expectNoLeak(async () => {
    const { layer, parameters, x, free } = block();
    const [y, pull] = await change(layer)(x);
    const dx = await pull(y);
    const all = [y, dx, ...parameters.map((p) => p.grad as tf.Tensor)];
    const values = await Promise.all(all.map((t) => t.data()));
    tf.dispose([x, y, dx]);
    free();
    return values;
  });
}
