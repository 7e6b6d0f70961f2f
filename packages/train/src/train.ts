/**
 * Trains a Llama on a text: the loop and its command line.
 *
 *     npm start                                             a small model on Moby-Dick, about a minute on two cores
 *     npm start -- --model SmolLM-135M --data sotu --tokenizer gpt2
 *     npx nx run train:start -- --config configs/nano.json --steps 50
 *
 * A step is: the gradients of gradAccSteps micro-batches, added up; their norm, clipped; the step's learning rate;
 * AdamW. A step's batch depends on the seed and the step alone, so the same command gives the same losses.
 */
import { pathToFileURL } from 'node:url';
import { readConfig, runMain } from '@fourfold/cli';
import {
  batchAt,
  checkVocabulary,
  openCorpus,
  openTokenizer,
  openTokens,
  sequencesOf,
  type TokenizedText,
  type Tokenizer,
  validationBatches,
  windowsOf,
} from '@fourfold/data';
import { mfuOf, openRunLog, peakFlops, type RunLog, trainingBytes } from '@fourfold/metrics';
import {
  createLlama,
  initialWeights,
  type Llama,
  type LlamaConfig,
  lossAndGradients,
  lossOf,
  MODELS,
  nextTokenLogits,
  parameterCount,
} from '@fourfold/model';
import { AdamW, clipFactor, learningRateAt, squaredNorm } from '@fourfold/optim';
import { type Backend, keyOf, machineMemory, memory, openBackend, UserError, uniforms } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

// ## Settings
//
// One schema gives the types, the defaults, the checks, `--help` and configs/schema.json.

const count = z.int().positive();
const count0 = z.int().nonnegative();
const from0 = z.number().nonnegative();
const DEVICES = ['auto', 'cuda', 'cpu', 'wasm'] as const;
const onlyOne = z.literal(1).default(1);

// biome-ignore format: a table
export const settings = z.object({
  model: z.enum(Object.keys(MODELS)).default('micro').describe('the shape, by name').meta({ group: 'Model' }),
  layers: count.optional().describe('blocks, if not as many as the model has'),
  dim: count.optional().describe('width of the residual stream, likewise'),
  heads: count.optional().describe('query heads, likewise'),
  kvHeads: count.optional().describe('key and value heads, likewise; must divide heads'),
  ffn: count.optional().describe('width inside the feed-forward part, likewise'),
  vocabulary: count.optional().describe("rows of the embedding, if not the model's or tokenizer's"),

  data: z.string().default('moby-dick').describe('moby-dick, sotu, or a path').meta({ group: 'Data' }),
  tokenizer: z.string().default('bytes').describe('bytes, gpt2 or a tokenizer.json'),
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
  recompute: z.boolean().default(false).describe('run blocks again in backward instead of keeping what they computed'),

  dp: onlyOne.describe('data-parallel ranks').meta({ group: 'Layout' }),
  pp: onlyOne.describe('pipeline stages'),
  cp: onlyOne.describe('context-parallel ranks'),
  tp: onlyOne.describe('tensor-parallel ranks'),

  device: z.enum(DEVICES).default('auto').describe('auto: the best there is').meta({ group: 'Machine' }),
  threads: count.optional().describe('CPU threads; default: one a core'),
  precision: z.enum(['float32', 'bfloat16']).default('float32').describe('of weights and activations'),
  log: z.boolean().default(false).describe("show TensorFlow's own log"),

  evalEvery: count0.default(100).describe('steps between validations; 0: at the end').meta({ group: 'Output' }),
  evalSequences: count.default(64).describe('sequences of a validation'),
  sampleEvery: count0.default(0).describe('steps between samples; 0: at the end'),
  sampleTokens: count0.default(200).describe('tokens of a sample; 0: none'),
  temperature: from0.default(0.8).describe('of sampling; 0 takes the likeliest token'),
  prompt: z.string().min(1).default('The ').describe('what samples begin with'),
  metrics: z.string().optional().describe('file for a line of JSON a step'),
  curve: z.string().optional().describe('file for the loss curve, an SVG'),
});
export type Settings = z.infer<typeof settings>;

// ## What a run works with

export interface Run {
  readonly config: Settings;
  readonly backend: Backend;
  readonly tokenizer: Tokenizer;
  readonly text: TokenizedText;
  readonly model: Llama;
}

/** The model's shape, with what the settings change of it. */
export function shapeOf(config: Settings, tokenizer: Tokenizer): LlamaConfig {
  const named = MODELS[config.model] as LlamaConfig;
  const { layers = named.layers, dim = named.dim, heads = named.heads, ffn = named.ffn } = config;
  const { kvHeads = config.heads ? heads : named.kvHeads, vocabulary = named.vocabulary || tokenizer.vocabularySize } =
    config;
  return { ...named, layers, dim, heads, kvHeads, headDim: dim / heads, ffn, vocabulary };
}

/** Opens everything that can be missing or wrong before anything is allocated. */
export async function prepare(config: Settings, say: (line: string) => void): Promise<Run> {
  const tokenizer = await openTokenizer(config.tokenizer);
  const shape = shapeOf(config, tokenizer);
  checkMemory(config, shape);
  const corpus = await openCorpus(config.data);
  const text = await openTokens({ corpus, tokenizer, validationFraction: config.validationFraction });
  checkVocabulary(text, tokenizer, shape.vocabulary);
  for (const part of [text.train, text.validation]) windowsOf(part, config.seqLength); // refuses what is too short
  const { device, log, threads } = config;
  const backend = await openBackend({ device, log, ...(threads ? { threads } : {}) });
  if (backend.note) say(`Training on wasm, slower: ${backend.note}`);
  if (config.precision === 'bfloat16' && backend.device === 'wasm')
    throw new UserError('precision=bfloat16 needs TensorFlow: use float32, or device cpu or cuda');
  const { precision: dtype, recompute, seed } = config;
  const model = createLlama(shape, { initialize: initialWeights(seed, shape), dtype, recompute });
  const millions = (parameterCount(shape) / 1e6).toFixed(2);
  say(`${config.model}: ${millions} M parameters, ${config.precision}, on ${backend.description}`);
  say(
    `${config.data}: ${text.train.count} tokens to train on, ${text.validation.count} to validate, ${tokenizer.name}`,
  );
  return { config, backend, tokenizer, text, model };
}

function checkMemory(config: Settings, shape: LlamaConfig): void {
  const { microBatchSize, seqLength, precision, recompute } = config;
  const parameters = parameterCount(shape);
  const needed = trainingBytes({ ...shape, parameters, batch: microBatchSize, seqLength, precision, recompute });
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  if (needed > machineMemory() && config.device !== 'cuda')
    throw new UserError(
      `model=${config.model} with microBatchSize=${microBatchSize} and seqLength=${seqLength} needs ${gib(needed)} ` +
        `and this machine has ${gib(machineMemory())}: use a smaller model, batch or sequence, or --recompute`,
    );
}

const batching = (config: Settings, text: TokenizedText) => ({
  tokens: text.train,
  seqLength: config.seqLength,
  sequencesPerStep: config.dp * config.microBatchSize * config.gradAccSteps,
  seed: config.seed,
});

// ## The loop

/** Trains, says how it goes, and returns the last validation loss. Stops after the step in which `stop` was aborted. */
export async function train(run: Run, log: RunLog, stop: AbortSignal): Promise<number> {
  const { config, model } = run;
  const optimizer = new AdamW(model.parameters, config);
  const tokensPerStep = config.dp * config.microBatchSize * config.gradAccSteps * config.seqLength;
  const size = { ...model.config, parameters: parameterCount(model.config), seqLength: config.seqLength };
  let validation = Number.NaN;
  let last = performance.now();
  for (let step = 0; step < config.steps && !stop.aborted; step++) {
    const learningRate = learningRateAt(step, config);
    const loss = await accumulateGradients(run, step);
    const gradNorm = Math.sqrt(await numberOf(squaredNorm(model.parameters)));
    if (!Number.isFinite(loss))
      throw new UserError(`the loss of step ${step + 1} is ${loss}: use a smaller learningRate`);
    optimizer.update(learningRate, clipFactor(gradNorm, config.clip));
    const milliseconds = performance.now() - last;
    const tokensPerSecond = (1000 * tokensPerStep) / milliseconds;
    const mfu = mfuOf(tokensPerSecond, size, peakFlops(run.backend.description, config.precision));
    const memoryBytes = memory().peakBytes;
    log.step({ step: step + 1, loss, gradNorm, learningRate, tokensPerSecond, milliseconds, memoryBytes, mfu });
    const due = (every: number) => step + 1 === config.steps || (every > 0 && (step + 1) % every === 0);
    if (due(config.evalEvery)) {
      validation = await validate(run);
      log.validation({ step: step + 1, loss: validation, bitsPerByte: bitsPerByte(validation, run) });
    }
    if (due(config.sampleEvery) && config.sampleTokens > 0) log.say(await sample(run, config.prompt));
    await new Promise(setImmediate); // lets a signal through: kernels leave Node no other moment
    last = performance.now();
  }
  optimizer.dispose();
  return validation;
}

/** Adds the step's mean gradient to the parameters and returns its mean loss. */
async function accumulateGradients({ config, text, model }: Run, step: number): Promise<number> {
  let total = 0;
  for (const sequences of sequencesOf({ ...config, dpRank: 0 })) {
    const { inputs_BT, targets_BT, shape } = batchAt({ ...batching(config, text), step, sequences });
    const batch = [inputs_BT, targets_BT].map((ids) => tf.tensor(ids, [...shape], 'int32')) as [tf.Tensor, tf.Tensor];
    total += await numberOf(await lossAndGradients(model, ...batch, 1 / config.gradAccSteps));
    tf.dispose(batch);
  }
  return total / config.gradAccSteps;
}

/** Reads a 0-d tensor and frees it. */
async function numberOf(x: tf.Tensor): Promise<number> {
  const [value = Number.NaN] = await x.data();
  x.dispose();
  return value;
}

// ## How good it is

/** The mean loss over the first evalSequences of the validation text, in nats a token. */
export async function validate({ config, text, model }: Run): Promise<number> {
  let [sum, tokens] = [0, 0];
  const request = { tokens: text.validation, ...config, maxSequences: config.evalSequences };
  for (const { inputs_BT, targets_BT, shape } of validationBatches(request)) {
    const batch = [inputs_BT, targets_BT].map((ids) => tf.tensor(ids, [...shape], 'int32')) as [tf.Tensor, tf.Tensor];
    sum += (await numberOf(await lossOf(model, ...batch))) * inputs_BT.length;
    tokens += inputs_BT.length;
    tf.dispose(batch);
  }
  return sum / tokens;
}

/** Comparable between tokenizers: how many bits the model needs for a byte of the text. */
const bitsPerByte = (nats: number, { text }: Run): number =>
  (nats * text.validation.count) / text.validation.bytes / Math.LN2;

/** `prompt` and what the model makes of it, sampleTokens tokens long, each drawn from softmax(logits / temperature). */
export async function sample({ config, tokenizer, model }: Run, prompt: string): Promise<string> {
  const ids = Array.from(tokenizer.encode(prompt));
  const draws = uniforms(keyOf(config.seed, 'sample'), 0, config.sampleTokens);
  for (const draw of draws) {
    const context = ids.slice(-config.seqLength);
    const tokens_1T = tf.tensor2d(context, [1, context.length], 'int32');
    const logits_1V = await nextTokenLogits(model, tokens_1T);
    ids.push(pickToken(await logits_1V.data(), config.temperature, draw));
    tf.dispose([tokens_1T, logits_1V]);
  }
  return tokenizer.decode(ids);
}

/** The token at `draw` (0 to 1) of the distribution's cumulative sum. */
function pickToken(logits_V: ArrayLike<number>, temperature: number, draw: number): number {
  const logits = Array.from(logits_V);
  const largest = logits.reduce((a, b) => Math.max(a, b));
  if (temperature === 0) return logits.indexOf(largest);
  const weights = logits.map((logit) => Math.exp((logit - largest) / temperature));
  let left = draw * weights.reduce((a, b) => a + b);
  for (const [token, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return token;
  }
  return logits.indexOf(largest); // rounding left a crumb
}

// ## The command

async function main(): Promise<void> {
  const usage = 'Trains a Llama on a text and prints how it goes, then text that it writes.';
  const config = readConfig({ schema: settings, argv: process.argv.slice(2), name: 'npm start --', usage });
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort(signal));
  const run = await prepare(config, console.log);
  const { steps, metrics, curve, model, data } = config;
  const log = openRunLog({ title: `${model} on ${data}`, steps, metrics, curve });
  await train(run, log, stop.signal);
  log.close();
  run.text.close();
  if (stop.signal.aborted) process.exitCode = stop.signal.reason === 'SIGINT' ? 130 : 143;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await runMain(main);
