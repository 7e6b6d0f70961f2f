import { applyContextParallel } from '@fourfold/context-parallel';
import { openTokenizer } from '@fourfold/data';
import { type TrainingSize, trainingBytes } from '@fourfold/metrics';
import { createLlama, type Llama, type LlamaConfig, MODELS, parameterCount, parameterShapes } from '@fourfold/model';
import { applyPipelineParallel, timetable } from '@fourfold/pipeline-parallel';
import { createMesh, rankCount, spmd } from '@fourfold/process-group';
import { machineMemory, openBackend, UserError } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import { applyTensorParallel } from '@fourfold/tensor-parallel';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import {
  checkSettings,
  chunksOf,
  pipelineShape,
  type Settings,
  sequencesPerStep,
  settings,
  shapeOf,
  tokenRanksOf,
} from '../src/settings.ts';

const bytes = await openTokenizer('bytes');

/** nano, with some settings changed: 2 layers, 4 heads of 16, 2 key and value heads, ffn 192, vocabulary 256. */
const nano = (changes: Partial<Settings> = {}): Settings => settings.parse({ model: 'nano', ...changes });
/** What a refusal says; undefined where there is none. It must be a UserError. */
function refusal(config: Settings, shape = shapeOf(config, bytes)): string | undefined {
  try {
    checkSettings(config, shape);
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as UserError).message;
  }
}

// ## What follows from the settings

test("a shape is the named one's, with what was changed", () => {
  const of = (changes: Partial<Settings>) => shapeOf(nano(changes), bytes);
  const { vocabulary, ...unchanged } = MODELS['nano'] as LlamaConfig;
  expect(of({})).toEqual({ ...unchanged, vocabulary: 256 });
  const changes = { layers: 5, dim: 96, ffn: 100, vocabulary: 300 };
  expect(of(changes)).toEqual({ ...unchanged, ...changes, headDim: 24 });
  expect(of({ heads: 8 })).toMatchObject({ heads: 8, kvHeads: 8, headDim: 8 }); // new heads: the old ratio says nothing
  expect(of({ heads: 8, kvHeads: 4 })).toMatchObject({ heads: 8, kvHeads: 4 });
  expect(of({ kvHeads: 1 })).toMatchObject({ heads: 4, kvHeads: 1 });
});

test("a model's own vocabulary goes before the tokenizer's, and the one asked for before both", () => {
  const of = (changes: Partial<Settings>) => shapeOf(settings.parse({ model: 'SmolLM-135M', ...changes }), bytes);
  expect(of({})).toEqual(MODELS['SmolLM-135M']);
  expect(of({ vocabulary: 1000 }).vocabulary).toBe(1000);
});

test('a rank has several stages only if a pipeline is interleaved', () => {
  expect(chunksOf(nano({ pp: 2, ppEngine: 'interleaved', ppChunks: 3 }))).toBe(3);
  expect(chunksOf(nano({ pp: 1, ppEngine: 'interleaved', ppChunks: 3 }))).toBe(1);
  for (const ppEngine of ['afab', '1f1b'] as const) expect(chunksOf(nano({ pp: 2, ppEngine, ppChunks: 3 }))).toBe(1);
});

test("only with sequence parallelism do tensor-parallel ranks share a micro-batch's tokens", () => {
  expect(tokenRanksOf(nano({ tp: 4, sequenceParallel: true }))).toBe(4);
  expect(tokenRanksOf(nano({ tp: 4 }))).toBe(1);
});

test('a schedule has the engine, the stages, the chunks and the micro-batches that were asked for', () => {
  const asked = { pp: 4, gradAccSteps: 6, ppChunks: 2 };
  expect(pipelineShape(nano({ ...asked, ppEngine: 'afab' }))).toEqual({ engine: 'afab', pp: 4, chunks: 1, micros: 6 });
  const interleaved = pipelineShape(nano({ ...asked, ppEngine: 'interleaved' }));
  expect(interleaved).toEqual({ engine: 'interleaved', pp: 4, chunks: 2, micros: 6 });
});

test('a step takes micro-batches of all data-parallel ranks, and other dimensions add none', () => {
  expect(sequencesPerStep(nano({ dp: 2, microBatchSize: 3, gradAccSteps: 5, pp: 2, cp: 4, tp: 4 }))).toBe(30);
});

// ## What is refused

const sequenceSplit = (tp: number, tokens: number, seqLength: number, cp: number, multiple: number): string =>
  `sequenceParallel=true: tp=${tp} does not divide the ${tokens} tokens of a sequence that a rank has ` +
  `(seqLength=${seqLength}, cp=${cp}): use a seqLength that is a multiple of ${multiple}`;

test.each<[Partial<Settings>, string]>([
  [{ kvHeads: 3 }, 'kvHeads=3 does not divide heads=4: use 1, 2, 4'],
  [{ heads: 3 }, `heads=3 gives heads of ${64 / 3} dimensions (dim=64): RoPE needs an even whole number`],
  [{ tp: 3 }, 'tp=3 does not divide heads=4: use 1, 2, 4'],
  [{ tp: 4, ffn: 90 }, 'tp=4 does not divide ffn=90: use 1, 2'],
  [{ tp: 2, vocabulary: 257 }, 'tp=2 does not divide vocabulary=257: use 1'],
  [
    { tp: 4, dim: 48, heads: 12, kvHeads: 6, vocabulary: 252 },
    'tp=4 does not divide kvHeads=6 (nor is it a multiple): use 1, 2, 3, 6, 12',
  ],
  [
    { cp: 4, seqLength: 12 },
    'cp=4 does not divide seqLength=12 into 8 chunks (zigzag): use cp 1, 2, 3 or 6, ' +
      'or a seqLength that is a multiple of 8',
  ],
  [
    { cp: 8, seqLength: 12, contextOrder: 'contiguous' },
    'cp=8 does not divide seqLength=12 into 8 chunks (contiguous): use cp 1, 2, 3, 4, 6 or 12, ' +
      'or a seqLength that is a multiple of 8',
  ],
  [{ pp: 3 }, 'pp=3 has more stages than layers=2: use pp of at most 2'],
  [
    { pp: 2, ppEngine: 'interleaved', layers: 5, ppChunks: 3 },
    'pp=2 x ppChunks=3 has more stages than layers=5: use pp x ppChunks of at most 5',
  ],
  [{ zero: true, tp: 2, pp: 2 }, 'zero=true splits moments over dp x cp ranks: use dp=2 or more'],
  [{ zero: true, dp: 2, bucketMegabytes: 0 }, 'zero=true needs buckets: use bucketMegabytes=25'],
  [{ masterWeights: false }, 'masterWeights=false needs bfloat16 weights: use precision=bfloat16'],
  [{ sequenceParallel: true, tp: 4, seqLength: 30 }, sequenceSplit(4, 30, 30, 1, 4)],
  [{ sequenceParallel: true, tp: 4, seqLength: 36, cp: 2 }, sequenceSplit(4, 18, 36, 2, 8)],
  [
    { sequenceParallel: true, tp: 3, heads: 3, dim: 48, vocabulary: 258, seqLength: 32, cp: 2 },
    sequenceSplit(3, 16, 32, 2, 12), // and of 4, for zigzag order
  ],
])('%j is refused', (changes, sentence) => {
  expect(refusal(nano(changes))).toBe(sentence);
});

test.each<Partial<Settings>>([
  { tp: 4 }, // above the 2 key and value heads
  { cp: 3, seqLength: 12, contextOrder: 'contiguous' },
  { pp: 2, ppEngine: 'interleaved', ppChunks: 3, layers: 6 },
  { pp: 1, ppEngine: 'interleaved', ppChunks: 9 },
  { pp: 2, ppEngine: '1f1b', ppChunks: 9 },
  { zero: true, dp: 2 },
  { zero: true, cp: 2 },
  { bucketMegabytes: 0, dp: 2 },
  { sequenceParallel: true, seqLength: 31 }, // with nobody to share it
  { sequenceParallel: true, tp: 4, seqLength: 40, cp: 2, contextOrder: 'contiguous' },
])('%j is not', (changes) => {
  expect(refusal(nano(changes))).toBeUndefined();
});

test('the seqLength that a refusal of sequence parallelism names would do', () => {
  const ranks = fc.constantFrom(1, 2, 3, 4, 6);
  fc.assert(
    fc.property(ranks, ranks, fc.constantFrom('zigzag', 'contiguous'), fc.nat(60), (tp, cp, contextOrder, n) => {
      const shape = { heads: 12, kvHeads: 12, dim: 48, vocabulary: 252 };
      const asked = nano({ ...shape, tp, cp, contextOrder, sequenceParallel: true, seqLength: 2 * cp * (n + 1) });
      const multiple = /a seqLength that is a multiple of (\d+)$/.exec(refusal(asked) ?? '')?.[1];
      if (multiple) expect(refusal({ ...asked, seqLength: Number(multiple) })).toBeUndefined();
    }),
  );
});

// ## Memory
//
// How many ranks fit into this machine, if they are coroutines, says how many bytes one was thought to need.

const gib = (amount: number): string => `${(amount / 2 ** 30).toFixed(1)} GiB`;

/** What checkSettings should think that one rank of nano has, where a test says nothing else. */
const rankOfNano = (part: Partial<TrainingSize> = {}): TrainingSize => ({
  ...shapeOf(nano(), bytes),
  parameters: parameterCount(shapeOf(nano(), bytes)),
  batch: 8,
  seqLength: 128,
  precision: 'float32',
  recompute: 'none',
  fused: part.precision !== 'bfloat16',
  ...part,
});
const whole = rankOfNano().parameters;

test.each<[Partial<Settings>, Partial<TrainingSize>]>([
  [{}, {}],
  [
    { microBatchSize: 3, seqLength: 64, precision: 'bfloat16' },
    { batch: 3, seqLength: 64, precision: 'bfloat16' },
  ],
  [{ recompute: 'block', gradAccSteps: 9 }, { recompute: 'block' }],
  [{ cp: 4 }, { seqLength: 32 }],
  [{ tp: 2 }, { parameters: Math.ceil(whole / 2), heads: 2, kvHeads: 1, ffn: 96, vocabulary: 128 }],
  [{ tp: 4 }, { parameters: Math.ceil(whole / 4), heads: 1, kvHeads: 1, ffn: 48, vocabulary: 64 }],
  [{ pp: 2 }, { parameters: Math.ceil(whole / 2), layers: 1 }],
  [
    { pp: 2, gradAccSteps: 6 },
    { parameters: Math.ceil(whole / 2), layers: 1, batch: 8 * 2 },
  ],
  [
    { pp: 2, gradAccSteps: 6, ppEngine: 'afab' },
    { parameters: Math.ceil(whole / 2), layers: 1, batch: 8 * 6 },
  ],
  [{ gradAccSteps: 6, ppEngine: 'afab' }, { batch: 8 * 6 }],
])('with %j, as many ranks as fit are not refused, and one more is', (changes, part) => {
  const group = rankCount(nano(changes)); // one data-parallel rank's
  const each = group * trainingBytes(rankOfNano(part));
  const fitting = Math.floor(machineMemory() / each);
  expect(refusal(nano({ ...changes, dp: fitting }))).toBeUndefined();
  const { microBatchSize, seqLength } = nano(changes);
  expect(refusal(nano({ ...changes, dp: fitting + 1 }))).toBe(
    `model=nano with microBatchSize=${microBatchSize} and seqLength=${seqLength} needs ${gib((fitting + 1) * each)} ` +
      `and this machine has ${gib(machineMemory())}: use a smaller model, batch or sequence, or --recompute block`,
  );
});

test('interleaved, the first rank holds more than pp micro-batches', () => {
  const shape = { layers: 4, pp: 2, gradAccSteps: 6, ppEngine: 'interleaved', ppChunks: 2 } as const;
  const count = parameterCount(shapeOf(nano(shape), bytes));
  // It runs 2 + 2 forwards of half its layers, and a fifth before its first backward ends.
  const part = { parameters: Math.ceil(count / 2), layers: 2, batch: (8 * 5) / 2 };
  const fitting = Math.floor(machineMemory() / (2 * trainingBytes(rankOfNano(part))));
  expect(refusal(nano({ ...shape, dp: fitting }))).toBeUndefined();
  expect(refusal(nano({ ...shape, dp: fitting + 1 }))).toMatch(/^model=nano .* needs/);
});

test('a process holds one rank, and a GPU has memory of its own', () => {
  const tooMany = Math.floor(machineMemory() / trainingBytes(rankOfNano())) + 1;
  expect(refusal(nano({ dp: tooMany }))).toMatch(/^model=nano .* needs/);
  expect(refusal(nano({ dp: tooMany, launcher: 'processes' }))).toBeUndefined();
  expect(refusal(nano({ dp: tooMany, device: 'cuda' }))).toBeUndefined();
  const tooLarge = nano({ microBatchSize: 1e9, launcher: 'processes' });
  expect(refusal(tooLarge)).toMatch(/^model=nano with microBatchSize=1000000000 and seqLength=128 needs/);
});

// ## What isn't refused can be built

beforeAll(() => openBackend({ device: 'wasm' })); // groups exchange a few numbers when they are made

/** Small shapes and layouts, of which many but not all go together. */
const asked = fc
  .record({
    layers: fc.integer({ min: 1, max: 6 }),
    headDim: fc.constantFrom(2, 4),
    heads: fc.constantFrom(1, 2, 4, 6, 12),
    kvHeads: fc.constantFrom(1, 2, 3, 4, 6),
    ffn: fc.constantFrom(8, 12, 24),
    vocabulary: fc.constantFrom(24, 48, 250),
    seqLength: fc.constantFrom(8, 12, 24, 25),
    gradAccSteps: fc.integer({ min: 1, max: 5 }),
    dp: fc.integer({ min: 1, max: 2 }),
    pp: fc.integer({ min: 1, max: 3 }),
    cp: fc.integer({ min: 1, max: 3 }),
    tp: fc.constantFrom(1, 2, 3, 4, 6),
    zero: fc.boolean(),
    sequenceParallel: fc.boolean(),
    contextOrder: fc.constantFrom('zigzag', 'contiguous'),
    ppEngine: fc.constantFrom('afab', '1f1b', 'interleaved'),
    ppChunks: fc.integer({ min: 1, max: 3 }),
    ppBalance: fc.constantFrom('layers', 'cost'),
    tied: fc.boolean(),
  })
  .map(({ headDim, tied, ...rest }) => ({ tied, config: nano({ ...rest, dim: rest.heads * headDim }) }))
  .map(({ tied, config }) => ({ config, shape: { ...shapeOf(config, bytes), tied } }))
  .filter(({ config, shape }) => refusal(config, shape) === undefined);

/** Cuts the model in all four dimensions, as training does before it allocates anything. */
const cutModel = (config: Settings, shape: LlamaConfig) =>
  spmd(rankCount(config), async (world) => {
    const mesh = await createMesh(world, config);
    const model = createLlama(shape);
    await applyTensorParallel(model, mesh.tp, config);
    applyContextParallel(model, mesh.cp, { order: config.contextOrder });
    const parts = await applyPipelineParallel(model, mesh.pp, chunksOf(config), config.ppBalance);
    return { place: mesh.coordinates, parts };
  });

const parametersOf = (parts: readonly Llama[]) => parts.flatMap(({ parameters }) => parameters);
const sizeOf = (sides: readonly number[]) => sides.reduce((product, side) => product * side, 1);

test('whatever passes can be cut for its ranks, into whole parts that together are the model', async () => {
  await fc.assert(
    fc.asyncProperty(asked, async ({ config, shape }) => {
      const ranks = await expectNoLeak(() => cutModel(config, shape));
      for (const { parts } of ranks) {
        expect(parts).toHaveLength(chunksOf(config));
        for (const parameter of parametersOf(parts)) {
          expect(() => parameter.value).toThrow('has no value yet');
          expect(parameter.shape.every((side) => Number.isInteger(side) && side > 0)).toBe(true);
        }
        const positions = (parts[0] as Llama).positions(config.seqLength / config.cp);
        expect(positions).toHaveLength(config.seqLength / config.cp);
      }
      const oneCopy = ranks.filter(({ place: { dp, cp } }) => dp === 0 && cp === 0);
      const held = new Map<string, number>();
      for (const { name, shape: part, replicas } of oneCopy.flatMap(({ parts }) => parametersOf(parts)))
        held.set(name, (held.get(name) ?? 0) + sizeOf(part) / replicas);
      for (const [name, sides] of parameterShapes(shape)) expect(held.get(name), name).toBeCloseTo(sizeOf(sides), 9);
      expect(held.size).toBe(parameterShapes(shape).size);
    }),
    { numRuns: 60 },
  );
});

test('whatever passes has a schedule in which every micro-batch goes forward and backward through every stage', () => {
  fc.assert(
    fc.property(asked, ({ config }) => {
      const { pp, gradAccSteps } = config;
      const actions = timetable(pipelineShape(config)).flatMap((tick) => tick.filter((action) => action !== undefined));
      expect(actions).toHaveLength(2 * gradAccSteps * pp * chunksOf(config));
    }),
  );
});
