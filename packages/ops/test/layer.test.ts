import { memory, profileOps } from '@fourfold/runtime';
import { expectNoLeak, onBackends, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import {
  chain,
  type Layer,
  linear,
  type Parameter,
  pullback,
  recomputed,
  residual,
  rmsNorm,
  swiglu,
} from '../src/index.ts';
import { checkLayer, parameter, randn, single } from './helpers.ts';

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

  test('a chain lets a layer take over what the chain has made, and nothing of its caller', async () => {
    const [x, dy] = [randn('x', [2, 3]), randn('dy', [2, 3])];
    const taken: tf.Tensor[] = [];
    const takesOver: Layer = Object.assign(
      async (z: tf.Tensor): ReturnType<Layer> => [tf.mul(z, 3), pullback([], (d: tf.Tensor) => tf.mul(d, 3))],
      {
        over: async (z: tf.Tensor): ReturnType<Layer> => {
          taken.push(z);
          const over = async (d: tf.Tensor) => {
            taken.push(d);
            return tf.tidy(() => [tf.mul(d, 3), d.dispose()][0] as tf.Tensor);
          };
          const y = tf.mul(z, 3);
          z.dispose();
          return [
            y,
            Object.assign(
              pullback([], (d: tf.Tensor) => tf.mul(d, 3)),
              { over },
            ),
          ];
        },
      },
    );
    await expectNoLeak(async () => {
      const [y, pull] = await chain(takesOver, takesOver, takesOver)(x);
      const dx = await pull(dy);
      expect([y, dx].map((z) => z.shape)).toEqual([x.shape, x.shape]);
      const thrice = (value: number) => Math.fround(Math.fround(Math.fround(value * 3) * 3) * 3);
      const expected = (z: tf.Tensor) => Array.from(z.dataSync(), thrice);
      expect([Array.from(y.dataSync()), Array.from(dx.dataSync())]).toEqual([expected(x), expected(dy)]);
      tf.dispose([y, dx]);
    });
    expect(taken).toHaveLength(3); // two inputs and one gradient: x and dy are the caller's
    expect(taken).not.toContain(x);
    expect(taken).not.toContain(dy);
    tf.dispose([x, dy]);
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

  test('linear of two weights, swiglu and linear make a gated MLP: (silu(x · aᵀ) · (x · bᵀ)) · cᵀ', async () => {
    const [a, b, c] = three();
    await checkLayer({
      layer: single(chain(linear(a, b), swiglu, linear(c))),
      inputs: [randn('x', [6, 4])],
      parameters: [a, b, c],
      reference: ([x], [a, b, c]) => times(tf.mul(silu(times(x, a)), times(x, b)), c),
    });
  });

  test.each(Object.keys(LAYERS))('recomputed, %s gives the very same bits', async (name) => {
    const [plain, again] = [await valuesOf(name, (f) => f), await valuesOf(name, recomputed)];
    expect(again).toEqual(plain);
  });

  test.each(Object.keys(LAYERS))('what backward needs of %s can be dropped', async (name) => {
    await expectNoLeak(async () => {
      const { layer, x, free } = block(name);
      const pull = await layer.again?.(x);
      pull?.drop();
      expect(pull).toBeDefined();
      x.dispose();
      free();
    });
  });

  test('a recomputed layer keeps its input alone', async () => {
    const { layer, x, free } = block('a block');
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

/** A layer that only passes on, as a sum over ranks does. */
const twice: Layer = Object.assign(
  async (x: tf.Tensor): ReturnType<Layer> => [tf.mul(x, 2), pullback([], (dy: tf.Tensor) => tf.mul(dy, 2))],
  { blind: () => pullback([], (dy: tf.Tensor) => tf.mul(dy, 2)) },
);

type Weights = readonly [a: Parameter, b: Parameter, c: Parameter, norm: Parameter];
const mlp = ([a, b, c, norm]: Weights): Layer => chain(rmsNorm(norm, 1e-5), linear(a, b), swiglu, linear(c));

/** Layers on 4 columns. */
const LAYERS: Record<string, (weights: Weights) => Layer> = {
  'a block': (weights) => residual(mlp(weights)),
  'two residual branches': (weights) => chain(residual(mlp(weights)), residual(mlp(weights))),
  'a chain that ends without a product': ([a, b]) => chain(linear(a, b), swiglu),
  'a chain that ends with a sum over ranks': ([a, , c]) => residual(chain(linear(a), chain(linear(c), twice))),
  'a chain that only passes on': () => chain(twice, chain(twice, twice)),
};

function block(name: string) {
  const parameters = [...three(), parameter('norm', [4])] as const;
  return {
    layer: LAYERS[name]?.(parameters) as Layer,
    parameters,
    x: randn('x', [6, 4]),
    free: () => {
      for (const p of parameters) p.dispose();
    },
  };
}

/** y, dx and every dw of a layer, as plain arrays. */
async function valuesOf(name: string, change: (layer: Layer) => Layer): Promise<ArrayLike<number>[]> {
  return expectNoLeak(async () => {
    const { layer, parameters, x, free } = block(name);
    const [y, pull] = await change(layer)(x);
    const dx = await pull(y);
    const all = [y, dx, ...parameters.flatMap(({ grad }) => grad ?? [])];
    const values = await Promise.all(all.map((t) => t.data()));
    tf.dispose([x, y, dx]);
    free();
    return values;
  });
}

// ## What recomputation spares

/** How many products backward of a recomputed layer runs. */
async function productsOf(layer: Layer, x: tf.Tensor): Promise<number> {
  const [y, pull] = await recomputed(layer)(x);
  const profile = await profileOps(async () => (await pull(y)).dispose());
  y.dispose();
  return profile.find(({ op }) => op === 'MatMul')?.calls ?? 0;
}

test('backward of a recomputed layer runs forward without its last product', async () => {
  await useBackend('cpu');
  const [[a, b, c], norm, x] = [three(), parameter('norm', [4]), randn('x', [6, 4])];
  const branch = chain(rmsNorm(norm, 1e-5), linear(a), linear(c));
  const plain: Layer = (y) => linear(c)(y); // that can't do with less
  expect(await productsOf(linear(a), x)).toBe(2); // those of backward alone
  expect(await productsOf(residual(branch), x)).toBe(1 + 4);
  expect(await productsOf(chain(residual(branch), residual(branch)), x)).toBe(3 + 8);
  expect(await productsOf(chain(linear(a), plain), x)).toBe(2 + 4);
  for (const p of [a, b, c, norm]) p.dispose();
  x.dispose();
});

test('nor does it run what comes after that product and only passes on', async () => {
  await useBackend('cpu');
  const [[a, b, c], x] = [three(), randn('x', [6, 4])];
  let sums = 0;
  const sum: Layer = Object.assign((x: tf.Tensor) => {
    sums += 1;
    return twice(x);
  }, twice);
  expect(await productsOf(residual(chain(linear(a), chain(linear(c), sum))), x)).toBe(1 + 4);
  expect(await productsOf(residual(chain(chain(linear(a), sum), linear(c))), x)).toBe(1 + 4); // here it must
  expect(sums).toBe(1 + 2);
  for (const p of [a, b, c]) p.dispose();
  x.dispose();
});
