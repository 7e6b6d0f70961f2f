import { createLlama, initialWeights, type Llama, type LlamaConfig, MODELS } from '@fourfold/model';
import type { Parameter } from '@fourfold/ops';
import { squaredNorm } from '@fourfold/optim';
import { type ProcessGroup, spmd } from '@fourfold/process-group';
import { memory, openBackend, read, UserError } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { applyTensorParallel, checkTensorParallel } from '../src/tensor-parallel.ts';
import type { Case } from './helpers.ts';
import { dispose, expectPart, FLOAT32, lossOf, modelOf, numberOf, sumPartialGradients } from './helpers.ts';

beforeAll(async () => void (await openBackend({ device: 'cpu' })));

/** nano with 8 heads, so that 8 ranks can share it, and 2 key and value heads: of 4 ranks two hold the same. */
const nano: LlamaConfig = { ...(MODELS['nano'] as LlamaConfig), heads: 8, headDim: 8, vocabulary: 56 };

/** What one rank is left with after a step's gradients, as plain numbers. */
interface Outcome {
  readonly loss: number;
  /** Σ g² of the rank's share of all parameters. */
  readonly squared: number;
  /** The gradients of what several ranks hold: norms, and key and value heads. By name and part. */
  readonly shared: Record<string, number[]>;
}

/** Runs a case on tp ranks, and holds what each finds against one rank's model. */
async function compare(it: Case, tp: number, sequenceParallel: boolean): Promise<Outcome[]> {
  return expectNoLeak(async () => {
    const whole = await modelOf(it);
    const loss = await lossOf(whole, it);
    const squared = await numberOf(squaredNorm(whole.parameters));
    const outcomes = await spmd(tp, async (group) => {
      const model = await modelOf(it, group, sequenceParallel);
      const outcome = { loss: await lossOf(model, it), ...(await gradientsOf(model, whole)) };
      dispose(model.parameters);
      return outcome;
    });
    dispose(whole.parameters);
    for (const outcome of outcomes) expect(Math.abs(outcome.loss / loss - 1)).toBeLessThan(1e-6);
    // Each rank counts what it shares with others for a part, so that all together count everything once.
    const sum = outcomes.reduce((total, outcome) => total + outcome.squared, 0);
    expect(Math.abs(sum / squared - 1)).toBeLessThan(2e-6);
    return outcomes;
  });
}

/** Adds up partial gradients, and holds each against its part of the whole model's. */
async function gradientsOf(
  model: Llama,
  whole: Llama,
  tolerance = FLOAT32,
): Promise<Pick<Outcome, 'squared' | 'shared'>> {
  await sumPartialGradients(model);
  const shared: Record<string, number[]> = {};
  for (const [i, { name, grad, shard, replicas }] of model.parameters.entries()) {
    const full = whole.parameters[i]?.grad as Tensor;
    await expectPart(grad, full, shard?.axis, { rank: shard?.index ?? 0, size: shard?.of ?? 1 }, name, tolerance);
    if (replicas > 1) shared[`${name} ${shard?.index}`] = [...(await read(grad as Tensor))];
  }
  return { squared: await numberOf(squaredNorm(model.parameters)), shared };
}

/** Of what several ranks hold they must have the same bits, or they drift apart. */
function expectSameBits(outcomes: Outcome[]): void {
  const seen = Object.assign({}, ...outcomes.map(({ shared }) => shared));
  for (const { loss, shared } of outcomes) {
    expect(loss).toBe(outcomes[0]?.loss);
    for (const [key, gradient] of Object.entries(shared)) expect(gradient, key).toEqual(seen[key]);
  }
}

describe.each([true, false])('a model on n ranks is the model on one (tied: %s)', (tied) => {
  const it: Case = { config: { ...nano, tied }, B: 2, T: 8 };
  test.each([1, 2, 4, 8])('%i ranks that hold all tokens', async (tp) => {
    expectSameBits(await compare(it, tp, false));
  });
  test.each([1, 2, 4, 8])('%i ranks that share the tokens out', async (tp) => {
    expectSameBits(await compare(it, tp, true));
  });
});

test.each([
  [false, 'selective'],
  [true, 'selective'],
  [false, 'block'],
  [true, 'block'],
] as const)('recomputed on 4 ranks (sequence parallel: %s, %s)', async (sequenceParallel, recompute) => {
  await compare({ config: nano, B: 2, T: 6, recompute }, 4, sequenceParallel);
});

// bfloat16 rounds by up to 2^-8; what is rounded differs, and a gradient has come through some ten such roundings.
test.each([false, true])('in bfloat16 as near as it can be (sequence parallel: %s)', async (sequenceParallel) => {
  const it: Case = { config: nano, B: 2, T: 16, dtype: 'bfloat16' };
  await expectNoLeak(async () => {
    const whole = await modelOf(it);
    const loss = await lossOf(whole, it);
    await spmd(4, async (group) => {
      const model = await modelOf(it, group, sequenceParallel);
      expect(Math.abs((await lossOf(model, it)) / loss - 1)).toBeLessThan(2 ** -8);
      await gradientsOf(model, whole, 2 ** -5);
      dispose(model.parameters);
    });
    dispose(whole.parameters);
  });
});

/** Any shape that n ranks can share. Fewer tokens or words can leave a gradient that is nothing but rounding. */
const shapes = fc.constantFrom(2, 3, 4, 6).chain((tp) => {
  const times = (least: number, most: number) => fc.integer({ min: least, max: most }).map((count) => count * tp);
  const fits = (heads: number) => (g: number) => heads % g === 0 && (g % tp === 0 || tp % g === 0);
  const headCounts = times(1, 2).chain((heads) =>
    fc.record({ heads: fc.constant(heads), kvHeads: fc.integer({ min: 1, max: heads }).filter(fits(heads)) }),
  );
  const config = fc.record({
    layers: fc.integer({ min: 1, max: 2 }),
    dim: fc.integer({ min: 8, max: 31 }),
    headDim: fc.constantFrom(2, 4, 6),
    ffn: times(1, 8),
    vocabulary: times(8, 12),
    tied: fc.boolean(),
  });
  return fc.record({ tp: fc.constant(tp), config, headCounts, T: times(4, 6), sequenceParallel: fc.boolean() });
});

test('models of odd shapes, too', async () => {
  await fc.assert(
    fc.asyncProperty(shapes, async ({ tp, config, headCounts, T, sequenceParallel }) => {
      await compare({ config: { ...nano, ...config, ...headCounts }, B: 2, T }, tp, sequenceParallel);
    }),
    { numRuns: 12 },
  );
});

// ## What each rank holds

/** Values of one parameter on every rank, by the end of its name; all with the same seed. */
async function valuesOf(config: LlamaConfig, tp: number): Promise<Record<string, number[][]>> {
  const ofRanks = await spmd(tp, async (group) => {
    const model = await modelOf({ config }, group);
    const values = model.parameters.map(async ({ name, value }) => [name, [...(await read(value))]] as const);
    const result = new Map(await Promise.all(values));
    dispose(model.parameters);
    return result;
  });
  const names = [...(ofRanks[0]?.keys() ?? [])];
  return Object.fromEntries(names.map((name) => [name, ofRanks.map((values) => values.get(name) as number[])]));
}

/** One rank's values of a parameter, cut into n along an axis. */
async function partsOf(config: LlamaConfig, parameter: Parameter, axis: number, n: number): Promise<number[][]> {
  const whole = initialWeights(1, config)(parameter);
  const parts = tf.split(whole, n, axis);
  const values = await Promise.all(parts.map(async (one) => [...(await read(one))]));
  tf.dispose([whole, ...parts]);
  return values;
}

/** Axis 0 is the outputs, axis 1 the inputs of a matrix. */
const AXES: [name: string, axis: number][] = [
  ['model.embed_tokens', 0],
  ['lm_head', 0],
  ['model.layers.1.self_attn.q_proj', 0],
  ['model.layers.1.self_attn.k_proj', 0],
  ['model.layers.1.self_attn.v_proj', 0],
  ['model.layers.1.self_attn.o_proj', 1],
  ['model.layers.1.mlp.gate_proj', 0],
  ['model.layers.1.mlp.up_proj', 0],
  ['model.layers.1.mlp.down_proj', 1],
];

test.each([2, 8])("the first weights of %i ranks are one rank's, each rank's part another", async (tp) => {
  const config = { ...nano, tied: false };
  const values = await valuesOf(config, tp);
  const whole = createLlama(config).parameters;
  for (const [key, axis] of AXES) {
    const name = `${key}.weight`;
    const parameter = whole.find((one) => one.name === name) as Parameter;
    const copies = /k_proj|v_proj/.test(name) ? Math.max(1, tp / nano.kvHeads) : 1; // ranks that share one head
    const parts = await partsOf(config, parameter, axis, tp / copies);
    const expected = Array.from({ length: tp }, (_, rank) => parts[Math.floor(rank / copies)]);
    expect(values[name], name).toEqual(expected);
    expect(new Set(parts.map(String)).size, name).toBe(tp / copies); // no two parts are the same
  }
});

test('a rank holds 1/n of every matrix, and of key and value heads at least one', async () => {
  const shapes = await spmd(8, async (group) => {
    const model = createLlama(nano);
    await applyTensorParallel(model, group);
    return model.parameters.slice(0, 6).map(({ shape, replicas }) => [...shape, replicas]);
  });
  // The embedding, a norm, q, k, v and o; the last number says how many ranks hold the same.
  for (const own of shapes)
    expect(own).toEqual([
      [7, 64, 1],
      [64, 8],
      [8, 64, 1],
      [8, 64, 4],
      [8, 64, 4],
      [64, 8, 1],
    ]);
});

test('gradients are partial where each rank has seen a part: of heads that it shares, and of tokens', async () => {
  const partialOf = async (group: ProcessGroup, sequenceParallel: boolean) => {
    const model = createLlama({ ...nano, layers: 1 });
    await applyTensorParallel(model, group, { sequenceParallel });
    return model.parameters.flatMap(({ name, partial }) => (partial ? [[name, partial.ranks]] : []));
  };
  const [plain] = (await spmd(4, (group) => partialOf(group, false))).slice(-1);
  const kv = ['k', 'v'].map((letter) => [`model.layers.0.self_attn.${letter}_proj.weight`, [2, 3]]);
  expect(plain).toEqual(kv); // rank 3 has the second head, as rank 2 has
  const [sequence] = await spmd(2, (group) => partialOf(group, true));
  const norms = ['layers.0.input_layernorm', 'layers.0.post_attention_layernorm', 'norm'];
  expect(sequence).toEqual(norms.map((name) => [`model.${name}.weight`, [0, 1]]));
});

// ## What can't be split

test.each<[tp: number, changes: Partial<LlamaConfig>, sentence: string]>([
  [3, {}, 'tp=3 does not divide heads=8: use 1, 2, 4, 8'],
  [4, { ffn: 6 }, 'tp=4 does not divide ffn=6: use 1, 2'],
  [2, { vocabulary: 97 }, 'tp=2 does not divide vocabulary=97: use 1'],
  [16, {}, 'tp=16 does not divide heads=8: use 1, 2, 4, 8'],
  [4, { heads: 12, kvHeads: 6 }, 'tp=4 does not divide kvHeads=6 (nor is it a multiple): use 1, 2'],
])('%i ranks for %o: one sentence', async (tp, changes, sentence) => {
  const config = { ...nano, ...changes };
  expect(() => checkTensorParallel(config, tp)).toThrow(new UserError(sentence));
  const before = memory();
  const recorders: ProcessGroup['recorder'][] = [];
  const splitting = spmd(tp, async (group) => {
    recorders.push(group.recorder);
    await applyTensorParallel(createLlama(config), group);
  });
  await expect(splitting).rejects.toThrow(new UserError(sentence));
  expect(memory()).toEqual(before); // it says so before anything is allocated, or sent
  expect(recorders.flatMap((recorder) => recorder.totals())).toEqual([]);
});

test('every number of ranks that the sentence names can be used', () => {
  const sizes = fc.integer({ min: 1, max: 24 });
  fc.assert(
    fc.property(sizes, sizes, sizes, fc.constantFrom(7, 11, 13), (heads, kvHeads, ffn, tp) => {
      const config = { ...nano, heads, kvHeads, ffn, vocabulary: 720 }; // none of these divides it
      const error = messageOf(() => checkTensorParallel(config, tp));
      const named = error
        .replace(/.*: use /, '')
        .split(', ')
        .map(Number);
      for (const n of named) checkTensorParallel(config, n);
      expect(named[0]).toBe(1);
    }),
  );
});

function messageOf(run: () => void): string {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('it did not throw');
}
