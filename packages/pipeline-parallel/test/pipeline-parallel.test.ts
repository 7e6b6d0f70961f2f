import { createLlama, initialize, initialWeights, type LlamaConfig, parameterShapes, RECOMPUTE } from '@fourfold/model';
import { spmd } from '@fourfold/process-group';
import { memory, openBackend, read, resetPeak, UserError } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  applyPipelineParallel,
  checkPipelineParallel,
  type Engine,
  pipelineBytes,
  runPipeline,
  timetable,
  warmUp,
} from '../src/pipeline-parallel.ts';
import type { Case, Outcome, Truth } from './helpers.ts';
import {
  batchesOf,
  dispose,
  expectSame,
  FLOAT32,
  gapOf,
  mostInFlight,
  numberOf,
  parametersOf,
  partsOf,
  pipelineOf,
  tiny,
  tokensOf,
  truthOf,
} from './helpers.ts';

beforeAll(async () => void (await openBackend({ device: 'cpu' })));

/** [engine, pp, chunks]. 7 layers: up to 7 stages. */
const layouts: [engine: Engine, pp: number, chunks: number][] = [
  ...[1, 2, 3, 4].flatMap((pp): [Engine, number, number][] => [
    ['afab', pp, 1],
    ['1f1b', pp, 1],
  ]),
  ['interleaved', 2, 2],
  ['interleaved', 2, 3],
  ['interleaved', 3, 2],
];

// Each case runs once, whoever asks for it: tests below look at other things than gradients.
const steps = new Map<string, Promise<Outcome[]>>();
const truths = new Map<string, Promise<Truth>>();

function once<T>(known: Map<string, Promise<T>>, key: object, run: () => Promise<T>): Promise<T> {
  const text = JSON.stringify(key);
  const found = known.get(text) ?? run();
  known.set(text, found);
  return found;
}
const step = (it: Case) => once(steps, it, () => pipelineOf(it, batchesOf(it)));
const truth = (it: Case) => once(truths, [it.config, it.micros], () => truthOf(it, batchesOf(it)));

describe.each([
  { tied: true, micros: 1 },
  { tied: true, micros: 3 },
  { tied: true, micros: 8 },
  { tied: false, micros: 3 },
])('a pipeline finds what one rank finds: tied=$tied, gradAccSteps=$micros', ({ tied, micros }) => {
  test.each(layouts)('%s, pp=%i, ppChunks=%i', async (engine, pp, chunks) => {
    const it: Case = { config: { ...tiny, tied }, engine, pp, chunks, micros };
    expectSame(await step(it), await truth(it));
  });
});

test('any stages of any model, by layers and by cost, with and without recomputing', async () => {
  const cases = fc
    .record({
      engine: fc.constantFrom<Engine>('afab', '1f1b', 'interleaved'),
      pp: fc.integer({ min: 2, max: 5 }),
      chunks: fc.integer({ min: 1, max: 3 }),
      micros: fc.integer({ min: 1, max: 7 }),
      more: fc.integer({ min: 0, max: 3 }), // layers than stages
      vocabulary: fc.integer({ min: 8, max: 600 }), // the head's cost
      tied: fc.boolean(),
      balance: fc.constantFrom('layers' as const, 'cost' as const),
      recompute: fc.constantFrom(...RECOMPUTE),
    })
    .map(({ more, vocabulary, tied, ...it }): Case => {
      const config = { ...tiny, layers: it.pp * it.chunks + more, dim: 16, headDim: 4, ffn: 24, vocabulary, tied };
      return { config, ...it };
    });
  const check = async (it: Case) => {
    const batches = batchesOf(it);
    expectSame(await pipelineOf(it, batches), await truthOf(it, batches));
  };
  await fc.assert(fc.asyncProperty(cases, check), { numRuns: 6 });
});

test.each(['afab', '1f1b', 'interleaved'] as const)(
  'picotron’s gradients were gradAccSteps times too large: %s gives those of the mean loss',
  async (engine) => {
    const it: Case = { config: tiny, engine, pp: 2, chunks: engine === 'interleaved' ? 2 : 1, micros: 4 };
    const same = await pipelineOf(it, batchesOf(it, 0)); // one batch, four times: the mean is what one gives
    expectSame(same, await truthOf(it, batchesOf({ ...it, micros: 1 }, 0)));
    expectSame(same, await truthOf(it, batchesOf(it, 0)));
  },
);

test('picotron’s stages began with equal weights: each has its own, which are those of one rank', async () => {
  const whole = createLlama(tiny);
  initialize(whole, initialWeights(1, tiny));
  const expected = new Map<string, ArrayLike<number>>();
  for (const { name, value } of whole.parameters) expected.set(name, await read(value));
  dispose(whole.parameters);
  const it: Case = { config: tiny, engine: '1f1b', pp: 4, chunks: 1, micros: 1 };
  const firsts = await spmd(it.pp, async (pp) => {
    const parameters = parametersOf(await partsOf(it, pp));
    for (const { name, value } of parameters) expect(await read(value), name).toEqual(expected.get(name));
    const first = parameters.find(({ name }) => name.includes('q_proj'))?.value as Tensor;
    const values = `${await read(first)}`;
    dispose(parameters);
    return values;
  });
  expect(new Set(firsts).size).toBe(4);
});

// ## Parts

test.each([
  ['layers', [3, 2, 2, 2]],
  ['cost', [3, 3, 2, 1]], // the head has as many weights as 2.5 layers
] as const)('each rank has its stages of the model and no other weight: by %s', async (balance, lengths) => {
  const config: LlamaConfig = { ...tiny, layers: 9, tied: false, vocabulary: 600 };
  const names = await spmd(2, async (pp) => {
    const parts = await applyPipelineParallel(createLlama(config), pp, 2, balance);
    for (const [chunk, { blocks, embed, norm, loss, head }] of parts.entries()) {
      const stage = chunk * 2 + pp.rank;
      expect(blocks.length).toBe(lengths[stage]);
      const last = stage === 3;
      expect([!!embed, !!norm, !!loss, !!head]).toEqual([stage === 0, last, last, last]);
    }
    return parts.map(({ parameters }) => parameters.map(({ name }) => name));
  });
  const inOrder = [0, 1, 2, 3].flatMap((stage) => names[stage % 2]?.[Math.floor(stage / 2)] ?? []);
  expect(inOrder).toEqual([...parameterShapes(config).keys()]);
});

test('tied embeddings are on both ends, which add up their gradients and count them for a half', async () => {
  const found = await spmd(4, async (pp) => {
    const parameters = parametersOf(await applyPipelineParallel(createLlama(tiny), pp));
    for (const { name, partial, replicas } of parameters)
      if (!name.includes('embed_tokens')) expect([partial, replicas]).toEqual([undefined, 1]);
    const embed = parameters.find(({ name }) => name.includes('embed_tokens'));
    return embed && { uses: embed.uses, replicas: embed.replicas, ranks: embed.partial?.ranks };
  });
  const end = { uses: 1, replicas: 2, ranks: [0, 3] };
  expect(found).toEqual([end, undefined, undefined, end]);
});

test('embeddings that are not tied, and those of one rank, are nobody else’s', async () => {
  for (const [tied, pp] of [
    [false, 3],
    [true, 1],
  ] as const)
    await spmd(pp, async (group) => {
      const parts = await applyPipelineParallel(createLlama({ ...tiny, tied }), group);
      for (const { name, partial, replicas, uses } of parametersOf(parts))
        expect([partial, replicas, uses], name).toEqual([undefined, 1, tied && name.includes('embed') ? 2 : 1]);
    });
});

// ## Bytes, order, memory

test.each(layouts)('%s, pp=%i, ppChunks=%i: as many bytes are sent as the formula says', async (engine, pp, chunks) => {
  const it: Case = { config: tiny, engine, pp, chunks, micros: 8 };
  for (const [rank, { bytes }] of (await step(it)).entries()) {
    expect(bytes).toBe(pipelineBytes(it, rank, { shape: [tokensOf, tiny.dim], dtype: 'float32' }));
    if (engine === '1f1b' && pp > 1) expect(bytes).toBe((rank % (pp - 1) === 0 ? 1 : 2) * 8 * tokensOf * tiny.dim * 4);
  }
});

test('in bfloat16 half as many bytes are sent', async () => {
  const it: Case = { config: tiny, engine: '1f1b', pp: 3, chunks: 1, micros: 3, dtype: 'bfloat16' };
  const sent = (await step(it)).map(({ bytes }) => bytes);
  expect(sent).toEqual([3, 6, 3].map((messages) => messages * tokensOf * tiny.dim * 2));
});

test.each(layouts)('%s, pp=%i, ppChunks=%i: what ran is the timetable', async (engine, pp, chunks) => {
  const it: Case = { config: tiny, engine, pp, chunks, micros: 8 };
  for (const [rank, { ran }] of (await step(it)).entries()) {
    const planned = timetable(it).flatMap((tick, i) => (tick[rank] ? [{ ...tick[rank], tick: i }] : []));
    expect(ran.map(({ start, end, ...action }) => action)).toEqual(planned);
    expect(mostInFlight(ran)).toBe(Math.min(8 * chunks, warmUp(it, rank) + 1));
    const times = ran.flatMap(({ start, end }) => [start, end]);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  }
});

/** The most bytes that a step of all ranks holds besides weights. */
async function peakOf(engine: Engine, micros: number): Promise<number> {
  const it: Case = { config: tiny, engine, pp: 3, chunks: 1, micros };
  const peaks = await spmd(it.pp, async (pp) => {
    const parts = await partsOf(it, pp);
    await pp.barrier();
    resetPeak();
    const before = memory().bytes;
    const { loss } = await runPipeline(parts, pp, batchesOf(it), it);
    await pp.barrier();
    const peak = memory().peakBytes - before;
    loss.dispose();
    dispose(parametersOf(parts));
    return peak;
  });
  return peaks[0] as number;
}

test('activations held grow with gradAccSteps in AFAB, and not in 1F1B', async () => {
  const afab: number[] = [];
  for (const micros of [4, 8, 12]) afab.push(await peakOf('afab', micros));
  const [four = 0, eight = 0, twelve = 0] = afab;
  const ofFour = eight - four; // what four micro-batches keep
  expect(ofFour).toBeGreaterThan(0.5 * four);
  expect(Math.abs((twelve - eight) / ofFour - 1)).toBeLessThan(0.01);
  // Both add up gradients while the stages are full.
  const [few, many] = [await peakOf('1f1b', 8), await peakOf('1f1b', 16)];
  expect(few).toBeLessThan(eight);
  expect(many / few).toBeLessThan(1.01);
});

test('steps leave nothing but gradients behind, however many there are', async () => {
  const it: Case = { config: tiny, engine: 'interleaved', pp: 2, chunks: 2, micros: 3 };
  await expectNoLeak(() =>
    spmd(it.pp, async (pp) => {
      const parts = await partsOf(it, pp);
      const counts: number[] = [];
      for (let step = 0; step < 4; step++) {
        const { loss } = await runPipeline(parts, pp, batchesOf(it), it);
        loss.dispose();
        for (const parameter of parametersOf(parts)) parameter.clearGradient();
        await pp.barrier();
        counts.push(memory().tensors);
        await pp.barrier();
      }
      expect(new Set(counts).size).toBe(1);
      dispose(parametersOf(parts));
    }),
  );
});

// ## Validation

test.each([
  [1, 1],
  [4, 1],
  [3, 2],
])('pp=%i, ppChunks=%i without backward: the same loss, no gradient, no tensor left', async (pp, chunks) => {
  const it: Case = { config: tiny, engine: 'afab', pp, chunks, micros: 3 };
  const batches = batchesOf(it);
  const { loss: expected } = await truthOf(it, batches);
  const losses = await expectNoLeak(() =>
    spmd(pp, async (group) => {
      const parts = await partsOf(it, group);
      const { loss, ran } = await runPipeline(parts, group, batches, { engine: 'forward' });
      expect(ran.every(({ kind }) => kind === 'forward')).toBe(true);
      for (const { name, grad } of parametersOf(parts)) expect(grad, name).toBeUndefined();
      dispose(parametersOf(parts));
      return numberOf(loss);
    }),
  );
  expect(gapOf([losses.at(-1) as number], [expected])).toBeLessThan(FLOAT32);
  expect(losses.slice(0, -1)).toEqual(Array(pp - 1).fill(0));
});

// ## Bad input

test('more stages than layers are refused in one sentence with what would do', () => {
  expect(() => checkPipelineParallel(tiny, 8)).toThrow(
    new UserError('pp=8 has more stages than layers=7: use pp of at most 7'),
  );
  expect(() => checkPipelineParallel(tiny, 4, 2)).toThrow(
    new UserError('pp=4 x ppChunks=2 has more stages than layers=7: use pp x ppChunks of at most 7'),
  );
  for (const [pp, chunks] of [[7], [3, 2], [1, 7]] as const) checkPipelineParallel(tiny, pp, chunks);
});

test('they are refused before anything is allocated', async () => {
  await expectNoLeak(async () => {
    const cut = spmd(4, (pp) => applyPipelineParallel(createLlama(tiny), pp, 2));
    await expect(cut).rejects.toThrow(UserError);
    await expect(cut).rejects.toThrow('use pp x ppChunks of at most 7');
  });
});
