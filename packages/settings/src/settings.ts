/**
 * What a training run can be told: one schema gives the types, the defaults, the checks, `--help` and
 * configs/schema.json.
 *
 *     npm start -- --help
 */
import { checkContextParallel, ORDERS } from '@fourfold/context-parallel';
import type { Tokenizer } from '@fourfold/data';
import { trainingBytes } from '@fourfold/metrics';
import { checkConfig, type LlamaConfig, MODELS, parameterCount, RECOMPUTE } from '@fourfold/model';
import { checkPipelineParallel, type Shape, warmUp } from '@fourfold/pipeline-parallel';
import { machineMemory, UserError } from '@fourfold/runtime';
import { checkTensorParallel } from '@fourfold/tensor-parallel';
import { z } from 'zod';

const count = z.int().positive();
const count0 = z.int().nonnegative();
const from0 = z.number().nonnegative();
const DEVICES = ['auto', 'cuda', 'cpu', 'wasm'] as const;

// biome-ignore format: a table
/** Every setting of a training run: its type, its default and what --help says of it. */
export const settings = z.object({
  model: z.enum(Object.keys(MODELS)).default('micro').describe('the shape, by name').meta({ group: 'Model' }),
  initFrom: z.string().optional()
    .describe('a trained model to begin with, instead: a folder from Hugging Face, a .gguf file, or a fetched name'),
  layers: count.optional().describe('blocks, if not as many as the model has'),
  dim: count.optional().describe('width of the residual stream, likewise'),
  heads: count.optional().describe('query heads, likewise'),
  kvHeads: count.optional().describe('key and value heads, likewise; must divide heads'),
  ffn: count.optional().describe('width inside the feed-forward part, likewise'),
  vocabulary: count.optional().describe("rows of the embedding, if not the model's or tokenizer's"),
  tied: z.boolean().optional().describe("whether the output's weights are the embedding's, if not as the model has it"),

  data: z.string().default('moby-dick').describe('moby-dick, sotu, or a path').meta({ group: 'Data' }),
  tokenizer: z.string().optional()
    .describe("bytes, gpt2 or a tokenizer.json; default: bytes, or that of initFrom's model"),
  validationFraction: z.number().gt(0).lt(1).default(0.1).describe("part of the text's end to validate on"),

  seqLength: count.default(128).describe('tokens of a sequence').meta({ group: 'Training' }),
  microBatchSize: count.default(8).describe('sequences that one pass takes'),
  gradAccSteps: count.default(1).describe('passes whose gradients make one step'),
  steps: count.default(400).describe('steps of the run'),
  learningRate: z.number().positive().default(3e-3).describe('the peak'),
  schedule: z.enum(['constant', 'linear', 'cosine', 'wsd']).default('cosine').describe('after the warm-up'),
  warmupSteps: count0.default(20).describe('steps of rising learning rate'),
  finalFraction: z.number().min(0).max(1).default(0.1).describe('what part of the peak is left at the end'),
  decayFraction: z.number().gt(0).max(1).default(0.2).describe('wsd: last part of the run, with falling rate'),
  weightDecay: from0.default(0.1).describe('pull on matrices towards zero'),
  beta2: z.number().min(0).lt(1).default(0.95).describe("memory of the gradient's size"),
  clip: from0.default(1).describe('longest gradient; 0: no clipping'),
  seed: count0.default(1).describe('of initial weights, batches and samples'),
  recompute: z.enum(RECOMPUTE).default('none')
    .describe('run again in backward, not kept: norms and SwiGLU (selective), or all of a block'),

  dp: count.default(1).describe('data-parallel ranks').meta({ group: 'Layout' }),
  pp: count.default(1).describe('pipeline stages'),
  cp: count.default(1).describe('context-parallel ranks'),
  tp: count.default(1).describe('tensor-parallel ranks'),
  zero: z.boolean().default(false)
    .describe("ZeRO-1: each data-parallel rank updates its part and holds that part's moments"),
  bucketMegabytes: from0.default(25)
    .describe('gradients that travel together; 0: each parameter alone, after backward'),
  sequenceParallel: z.boolean().default(false)
    .describe('tensor-parallel ranks split tokens where they split no matrix'),
  contextOrder: z.enum(ORDERS).default('zigzag').describe('which positions a context-parallel rank has'),
  ppEngine: z.enum(['afab', '1f1b', 'interleaved']).default('1f1b').describe('the order of forwards and backwards'),
  ppChunks: count.default(2).describe('interleaved: stages that each rank has'),
  ppBalance: z.enum(['layers', 'cost']).default('layers')
    .describe('cost: the head counts, so the last stage gets less'),
  launcher: z.enum(['local', 'processes']).default('local').describe('ranks as coroutines here, or a process each'),

  checkpoints: z.string().optional().describe('folder for checkpoints').meta({ group: 'Checkpoints' }),
  saveEvery: count0.default(0).describe('steps between checkpoints; 0: at the end'),
  keep: count0.default(3).describe('how many checkpoints to keep; 0: all'),
  resume: z.string().min(1).default('auto')
    .describe('auto: the newest sound one in checkpoints, if any; none; or the path of one'),
  maxRestarts: count0.max(1000).default(0)
    .describe('launcher processes: how often to start all ranks again, from the last checkpoint, when one died'),
  skipOutliers: from0.default(0)
    .describe('skip steps whose loss or gradient is so many deviations above the last 128; 0: none'),

  device: z.enum(DEVICES).default('auto').describe('auto: the best there is').meta({ group: 'Machine' }),
  threads: count.optional().describe('CPU threads; default: one a core'),
  precision: z.enum(['float32', 'bfloat16']).default('float32').describe('of weights and activations'),
  gradientPrecision: z.enum(['float32', 'bfloat16']).default('float32')
    .describe("of matrices' gradients; bfloat16 halves their bytes, where a step is one pass"),
  moments: z.enum(['float32', 'bfloat16']).default('float32').describe("of AdamW's two running means"),
  masterWeights: z.boolean().default(true)
    .describe('bfloat16 weights are rounded from float32 ones; false: at random, without them'),
  deterministic: z.boolean().default(true)
    .describe("the same bits in every run; false: a GPU adds up attention's gradients in any order, faster"),
  log: z.boolean().default(false).describe("show TensorFlow's own log"),

  evalEvery: count0.default(100).describe('steps between validations; 0: at the end').meta({ group: 'Output' }),
  evalSequences: count.default(64).describe('sequences of a validation'),
  sampleEvery: count0.default(0).describe('steps between samples; 0: at the end'),
  sampleTokens: count0.default(200).describe('tokens of a sample; 0: none'),
  temperature: from0.default(0.8).describe('of sampling; 0 takes the likeliest token'),
  prompt: z.string().min(1).default('The ').describe('what samples begin with'),
  trace: z.string().optional().describe('file for a trace of the last 3 steps, JSON; beside it the schedule, an SVG'),
  gradients: z.string().optional().describe("file for the first step's gradients, safetensors"),
  profile: count.optional().describe("a step whose time on the GPU is printed, op by op"),
  export: z.string().optional().describe('folder for the trained model, as Hugging Face has it; a new one'),
  metrics: z.string().optional().describe('file for a line of JSON a step'),
  tensorboard: z.string().optional().describe('folder for TensorBoard event files, with the same figures'),
  curve: z.string().optional().describe('file for the loss curve, an SVG'),
});
/** A training run's settings, all of them. */
export type Settings = z.infer<typeof settings>;

/** Steps at the end of a run that a trace shows. */
export const TRACED = 3;

/** Stages that each rank has. */
export const chunksOf = ({ pp, ppEngine, ppChunks }: Settings): number =>
  ppEngine === 'interleaved' && pp > 1 ? ppChunks : 1;
/** How many ranks share a micro-batch's tokens between layers. */
export const tokenRanksOf = ({ tp, sequenceParallel }: Settings): number => (sequenceParallel ? tp : 1);

/** What a step's schedule is made from. */
export const pipelineShape = (config: Settings): Shape => {
  const { ppEngine: engine, pp, gradAccSteps: micros } = config;
  return { engine, pp, chunks: chunksOf(config), micros };
};

/** Size of the global batch, in sequences. */
export const sequencesPerStep = ({ dp, microBatchSize, gradAccSteps }: Settings): number =>
  dp * microBatchSize * gradAccSteps;

/** The model's shape, with what the settings change of it. */
export function shapeOf(config: Settings, tokenizer: Pick<Tokenizer, 'vocabularySize'>): LlamaConfig {
  const named = MODELS[config.model] as LlamaConfig;
  const { layers = named.layers, dim = named.dim, heads = named.heads, ffn = named.ffn, tied = named.tied } = config;
  const { kvHeads = config.heads ? heads : named.kvHeads, vocabulary = named.vocabulary || tokenizer.vocabularySize } =
    config;
  return { ...named, layers, dim, heads, kvHeads, headDim: dim / heads, ffn, vocabulary, tied };
}

/**
 * Refuses what can't be trained so, before anything is read or allocated.
 *
 * @throws UserError, a sentence with values that would do
 */
export function checkSettings(config: Settings, shape: LlamaConfig): void {
  const { dp, cp, tp, pp, zero, seqLength, bucketMegabytes, contextOrder: order } = config;
  checkConfig(shape);
  checkTensorParallel(shape, tp);
  checkContextParallel({ seqLength, cp, order });
  checkPipelineParallel(shape, pp, chunksOf(config));
  if (zero && dp * cp === 1) throw new UserError('zero=true splits moments over dp x cp ranks: use dp=2 or more');
  if (zero && bucketMegabytes === 0) throw new UserError('zero=true needs buckets: use bucketMegabytes=25');
  if (!config.masterWeights && config.precision === 'float32')
    throw new UserError('masterWeights=false needs bfloat16 weights: use precision=bfloat16');
  checkCheckpoints(config);
  if (config.gradientPrecision === 'bfloat16') checkNarrowGradients(config);
  if ((seqLength / cp) % tokenRanksOf(config) !== 0) {
    const halves = order === 'zigzag' && cp > 1 && tp % 2 === 1 ? 2 : 1; // zigzag: a rank has two chunks
    throw new UserError(
      `sequenceParallel=true: tp=${tp} does not divide the ${seqLength / cp} tokens of a sequence that a rank has ` +
        `(seqLength=${seqLength}, cp=${cp}): use a seqLength that is a multiple of ${halves * cp * tp}`,
    );
  }
  checkMemory(config, shape);
}

/** In bfloat16 a sum of many small gradients stops growing. */
function checkNarrowGradients({ precision, gradAccSteps }: Settings): void {
  if (precision === 'float32')
    throw new UserError('gradientPrecision=bfloat16 needs bfloat16 weights: use precision=bfloat16');
  if (gradAccSteps > 1)
    throw new UserError(
      `gradientPrecision=bfloat16 would lose what gradAccSteps=${gradAccSteps} adds up: use gradAccSteps=1 or float32`,
    );
}

function checkCheckpoints({ checkpoints, saveEvery, maxRestarts, launcher }: Settings): void {
  if (saveEvery > 0 && checkpoints === undefined)
    throw new UserError(`saveEvery=${saveEvery} needs a folder to save to: use --checkpoints DIR`);
  if (maxRestarts > 0 && launcher === 'local')
    throw new UserError(`maxRestarts=${maxRestarts} restarts processes: use launcher=processes`);
  if (maxRestarts > 0 && checkpoints === undefined)
    throw new UserError(`maxRestarts=${maxRestarts} needs checkpoints to go on from: use --checkpoints DIR`);
}

/** The model and a step's activations, of all ranks where they are coroutines of one process, else of one. */
function checkMemory(config: Settings, shape: LlamaConfig): void {
  const { dp, pp, cp, tp, microBatchSize, seqLength, gradAccSteps, launcher, precision, recompute, device } = config;
  const parameters = Math.ceil(parameterCount(shape) / (pp * tp));
  const { layers, heads, kvHeads, ffn, vocabulary } = shape;
  const split = { heads: heads / tp, kvHeads: Math.max(1, kvHeads / tp), ffn: ffn / tp, vocabulary: vocabulary / tp };
  const part = { ...shape, ...split, layers: Math.ceil(layers / pp), seqLength: seqLength / cp, parameters };
  const chunks = chunksOf(config);
  // The first rank holds the most: what it warms up with and one more, each in a chunk of its layers.
  const inFlight = Math.min(gradAccSteps * chunks, warmUp(pipelineShape(config), 0) + 1);
  const batch = (microBatchSize * inFlight) / chunks;
  const fused = precision === 'float32' && device !== 'wasm';
  const ranks = launcher === 'local' ? dp * pp * cp * tp : 1;
  const { gradientPrecision: gradients, moments, masterWeights } = config;
  const state = { precision, gradients, moments, masterWeights };
  const needed = ranks * trainingBytes({ ...part, ...state, batch, recompute, fused });
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  if (needed <= machineMemory() || device === 'cuda') return;
  throw new UserError(
    `model=${config.model} with microBatchSize=${microBatchSize} and seqLength=${seqLength} needs ${gib(needed)} ` +
      `and this machine has ${gib(machineMemory())}: use a smaller model, batch or sequence, or --recompute block`,
  );
}
