/**
 * The model against transformers and PyTorch (fixtures/), against itself with recomputation, and for leaks.
 */
import { AdamW, squaredNorm } from '@fourfold/optim';
import { cast, type DType, dtypeOf, memory, openBackend, read, readLater, UserError } from '@fourfold/runtime';
import { pretendGpu } from '@fourfold/runtime/testing/pretended-gpu';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  createLlama,
  forward,
  forwardToLoss,
  freePlace,
  initialize,
  initialWeights,
  type Llama,
  type LlamaConfig,
  lossAndGradients,
  MODELS,
  parameterCount,
  parameterShapes,
  placeOf,
  RECOMPUTE,
} from '../src/model.ts';
import { batchOf, FIXTURES, fixtureModel, readFixture } from './fixtures.ts';

beforeAll(async () => void (await openBackend({ device: 'cpu' })));

async function numberOf(x: tf.Tensor): Promise<number> {
  const [value = Number.NaN] = await x.data();
  x.dispose();
  return value;
}

/** The largest difference, relative to the reference's largest element. */
function distance(ours: ArrayLike<number>, reference: ArrayLike<number>): number {
  expect(ours.length).toBe(reference.length);
  let [largest, difference] = [0, 0];
  for (let i = 0; i < reference.length; i++) {
    largest = Math.max(largest, Math.abs(reference[i] as number));
    difference = Math.max(difference, Math.abs((ours[i] as number) - (reference[i] as number)));
  }
  return difference / largest;
}

/** The mean loss without gradients, as validation computes it. */
async function lossOf(model: Llama, inputs: tf.Tensor, targets: tf.Tensor): Promise<tf.Tensor> {
  const place = placeOf(model, ...(inputs.shape as [number, number]));
  const [loss, pull] = await forwardToLoss(model, inputs, targets, place, { gradients: false });
  pull.drop();
  freePlace(place);
  return loss;
}

describe.each(FIXTURES)('%s as transformers computes it', (name) => {
  test('logits within 1e-5, loss within 1e-6', async () => {
    const fixture = await readFixture(name);
    const model = fixtureModel(fixture);
    const [inputs, targets] = batchOf(fixture);
    const [B, T] = inputs.shape as [number, number];
    const [x_ND, pull] = await forward(model, inputs, placeOf(model, B, T));
    pull.drop();
    const head = model.head?.value as tf.Tensor2D;
    const logits = await tf.matMul(x_ND as tf.Tensor2D, head, false, true).data();
    expect(distance(logits, fixture.logits.data)).toBeLessThan(1e-5);
    expect(Math.abs((await numberOf(await lossOf(model, inputs, targets))) / fixture.loss - 1)).toBeLessThan(1e-6);
  });

  // 2e-6 is about twice PyTorch's own distance between float32 and float64 on these models (up to 1e-6).
  test.each(RECOMPUTE)('every gradient within 2e-6 of its largest element (recompute %s)', async (recompute) => {
    const fixture = await readFixture(name);
    const model = fixtureModel(fixture, { recompute });
    await numberOf(await lossAndGradients(model, ...batchOf(fixture)));
    expect(model.parameters.map((p) => p.name).sort()).toEqual([...fixture.gradients.keys()].sort());
    for (const parameter of model.parameters) {
      const reference = fixture.gradients.get(parameter.name)?.data ?? [];
      const ours = (await parameter.grad?.data()) ?? [];
      expect(distance(ours, reference), parameter.name).toBeLessThan(2e-6);
    }
  });

  // PyTorch's float32 losses lie within 1.3e-7 of its float64 ones here, so there is no need for a wider bound.
  test('the losses of ten AdamW steps within 1e-6', async () => {
    const fixture = await readFixture(name);
    const model = fixtureModel(fixture);
    const batch = batchOf(fixture);
    const optimizer = new AdamW(model.parameters, { beta1: 0.9, beta2: 0.95, weightDecay: 0.1 });
    for (const reference of fixture.losses) {
      expect(Math.abs((await numberOf(await lossAndGradients(model, ...batch))) / reference - 1)).toBeLessThan(1e-6);
      optimizer.update(1e-3);
    }
  });
});

const tiny: LlamaConfig = { ...(MODELS['nano'] as LlamaConfig), vocabulary: 50 };

const tinyBatch = (B: number, T: number): [tf.Tensor, tf.Tensor] => {
  const ids = Int32Array.from({ length: 2 * B * T }, (_, i) => (i * i * 7 + 3 * i) % 50);
  return [tf.tensor2d(ids.slice(0, B * T), [B, T], 'int32'), tf.tensor2d(ids.slice(B * T), [B, T], 'int32')];
};

function tinyModel(options: Parameters<typeof createLlama>[1] = {}): Llama {
  const model = createLlama(tiny, options);
  initialize(model, initialWeights(1, tiny));
  return model;
}

test('recomputation gives the same bits', async () => {
  const gradients: ArrayLike<number>[][] = [];
  for (const recompute of RECOMPUTE) {
    const model = tinyModel({ recompute });
    await numberOf(await lossAndGradients(model, ...tinyBatch(2, 9)));
    gradients.push(await Promise.all(model.parameters.map(async ({ grad }) => Array.from((await grad?.data()) ?? []))));
  }
  expect(gradients[1]).toEqual(gradients[0]);
  expect(gradients[2]).toEqual(gradients[0]);
});

test('two halves of a batch, each weighing a half, give the gradient of the whole', async () => {
  const [inputs, targets] = tinyBatch(4, 6);
  const models = [tinyModel(), tinyModel()] as [Llama, Llama];
  await numberOf(await lossAndGradients(models[0], inputs, targets));
  for (const start of [0, 2]) {
    const [x, y] = [inputs, targets].map((all) => tf.slice(all, [start, 0], [2, 6])) as [tf.Tensor, tf.Tensor];
    await numberOf(await lossAndGradients(models[1], x, y, 1 / 2));
  }
  for (const [i, { name, grad }] of models[0].parameters.entries()) {
    const halves = (await models[1].parameters[i]?.grad?.data()) ?? [];
    expect(distance(halves, (await grad?.data()) ?? []), name).toBeLessThan(2e-6);
  }
});

test('a step leaves no tensor behind but the gradients', async () => {
  const model = tinyModel();
  const batch = tinyBatch(2, 8);
  const before = memory();
  await numberOf(await lossAndGradients(model, ...batch));
  await numberOf(await lossOf(model, ...batch));
  for (const parameter of model.parameters) parameter.clearGradient();
  expect(memory().tensors).toBe(before.tensors);
  expect(memory().bytes).toBe(before.bytes);
});

test.each([{}, { recompute: 'selective' as const }, { recompute: 'block' as const }])(
  'a step on a GPU waits for nothing, and its loss is the CPU’s: %j',
  async (options) => {
    const losses = async () => {
      const model = tinyModel(options);
      const optimizer = new AdamW(model.parameters);
      return async () => {
        const loss = await lossAndGradients(model, ...tinyBatch(2, 8));
        const squares = squaredNorm(model.parameters);
        optimizer.update(1e-2, { squares, clip: 1 });
        const reading = readLater(loss);
        tf.dispose([loss, squares]);
        return (await reading)[0] as number;
      };
    };
    const plain = await losses();
    const [first, second] = [await plain(), await plain()];
    await pretendGpu(async (gpu) => {
      const step = await losses();
      expect(await step()).toBeCloseTo(first, 5);
      gpu.forget();
      expect(await step()).toBeCloseTo(second, 5);
      expect(gpu.waits).toEqual([]);
      expect(gpu.calls.get('FourfoldProduct')).toBeGreaterThan(0); // it was CUDA's code
    });
  },
);

test.each([true, false])('matrices’ gradients in bfloat16 are those in float32, rounded: tied %s', async (tied) => {
  const config = { ...(MODELS['nano'] as LlamaConfig), vocabulary: 61, tied };
  const gradients = async (gradDtype: DType) => {
    const model = createLlama(config, { dtype: 'bfloat16', gradDtype });
    initialize(model, initialWeights(1, config));
    const [tokens, targets] = [
      tf.tensor2d([[3, 1, 4, 1, 5]], [1, 5], 'int32'),
      tf.tensor2d([[1, 4, 1, 5, 9]], [1, 5], 'int32'),
    ];
    tf.dispose([tokens, targets, await lossAndGradients(model, tokens, targets)]);
    const all = model.parameters.map(({ name, grad }) => ({ name, grad: grad as tf.Tensor }));
    const found = [];
    for (const { name, grad } of all) {
      expect(dtypeOf(grad), name).toBe(grad.rank > 1 ? gradDtype : 'float32');
      const rounded = tf.tidy(() => (grad.rank > 1 ? cast(grad, 'bfloat16') : grad.clone()));
      found.push([name, await read(rounded)] as const);
      rounded.dispose();
    }
    for (const parameter of model.parameters) parameter.dispose();
    return new Map(found);
  };
  const [wide, narrow] = [await gradients('float32'), await gradients('bfloat16')];
  for (const [name, values] of wide) {
    if (tied && name.includes('embed')) continue; // a sum of two, of which each is rounded
    expect(narrow.get(name), name).toEqual(values);
  }
});

test('bfloat16 stays near float32, and gradients are float32', async () => {
  const losses: number[] = [];
  for (const dtype of ['float32', 'bfloat16'] as const) {
    const model = tinyModel({ dtype });
    losses.push(await numberOf(await lossAndGradients(model, ...tinyBatch(2, 8))));
    expect(model.parameters.every(({ dtype: own }) => own === dtype)).toBe(true);
    expect(model.parameters.every(({ grad }) => grad?.dtype === 'float32')).toBe(true);
  }
  // bfloat16 keeps 8 bits: each logit may be off by 0.4 %, and logits here are well below 1.
  expect(Math.abs((losses[1] as number) - (losses[0] as number))).toBeLessThan(4e-3);
});

test("a parameter's first value depends on the seed and its name alone", async () => {
  const values = async (seed: number, config: LlamaConfig, name: string) =>
    initialWeights(
      seed,
      config,
    )({ name, fullShape: parameterShapes(config).get(name) as number[], shard: undefined }).data();
  const name = 'model.layers.1.mlp.up_proj.weight';
  expect(await values(1, tiny, name)).toEqual(await values(1, { ...tiny, vocabulary: 99 }, name));
  expect(await values(2, tiny, name)).not.toEqual(await values(1, tiny, name));
  expect(await values(1, tiny, 'model.layers.0.mlp.up_proj.weight')).not.toEqual(await values(1, tiny, name));
});

// The counts that the models' own pages and papers give.
test.each([
  ['SmolLM-135M', 134_515_008],
  ['SmolLM-360M', 361_821_120],
  ['SmolLM-1.7B', 1_711_376_384],
  ['TinyLlama-1.1B', 1_100_048_384],
  ['Llama-2-7B', 6_738_415_616],
  ['Llama-3.2-1B', 1_235_814_400],
  ['Llama-3-8B', 8_030_261_248],
])('%s has %i parameters', (name, count) => {
  expect(parameterCount(MODELS[name] as LlamaConfig)).toBe(count);
});

test('heads that do not divide are refused in a sentence', () => {
  const build = (change: Partial<LlamaConfig>) => () => createLlama({ ...tiny, ...change });
  expect(build({ kvHeads: 3 })).toThrow(new UserError('kvHeads=3 does not divide heads=4: use 1, 2, 4'));
  expect(build({ heads: 5, kvHeads: 5, headDim: 64 / 5 })).toThrow(/heads of 12.8 dimensions/);
});
