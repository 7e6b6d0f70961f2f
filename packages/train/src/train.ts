/**
 * Trains a Llama on a text, on one rank or many: the loop and its command line.
 *
 *     npm start                                             16 ranks, dp2 x pp2 x cp2 x tp2, in this process
 *     npm start -- --model SmolLM-135M --data sotu --tokenizer gpt2
 *     npx nx run train:start -- --dp 2 --tp 2 --launcher processes --steps 50
 *
 * A step is: micro-batches through the pipeline, whose gradients add up; their mean over all ranks; its norm, clipped;
 * AdamW. A step's batch depends on the seed and the step alone, and so do the first weights: every layout of ranks
 * computes the same losses.
 */
import { fileURLToPath, pathToFileURL } from 'node:url';
import { exportRanks, gatherWhole, writeTensors } from '@fourfold/checkpoint';
import { readConfig, runMain } from '@fourfold/cli';
import { applyContextParallel } from '@fourfold/context-parallel';
import { atPositions, batchAt, sequencesOf, validationBatches } from '@fourfold/data';
import { bucketedDataParallel, type DataParallel, naiveDataParallel } from '@fourfold/data-parallel';
import { sample } from '@fourfold/inference';
// biome-ignore format: a list
import {
  mfuOf, openRunLog, peakFlops, profileReport, type RunLog, rankRun, runReport, spanOf,
} from '@fourfold/metrics';
import type { Initialize } from '@fourfold/model';
import { createLlama, initialize, initialWeights, type Llama, parameterCount, parameterShapes } from '@fourfold/model';
import { kernels, type Parameter } from '@fourfold/ops';
import { AdamW, learningRateAt, squaredNorm } from '@fourfold/optim';
import { applyPipelineParallel, bubble, type Ran, runPipeline } from '@fourfold/pipeline-parallel';
import { predictedBytes } from '@fourfold/plan';
// biome-ignore format: a list
import {
  createMesh, gatherObjects, inWorld, isLaunched, type Mesh, type ProcessGroup, rankCount, spmd, startDeviceTrace,
} from '@fourfold/process-group';
import { main as launch } from '@fourfold/process-group/launch';
import { constant, memory, readLater, readTimed, startProfile, UserError, zeros } from '@fourfold/runtime';
// biome-ignore format: a list
import {
  checkModel, chunksOf, introduce, pipelineShape, prepare, type Setup, sequencesPerStep, settings, TRACED, tokenRanksOf,
} from '@fourfold/settings';
import { applyTensorParallel } from '@fourfold/tensor-parallel';
import * as tf from '@tensorflow/tfjs-core';

// ## What a rank works with

export interface Rank {
  readonly setup: Setup;
  readonly mesh: Mesh;
  /** Its stages of the model. */
  readonly parts: readonly Llama[];
  readonly parameters: readonly Parameter[];
  readonly data: DataParallel;
  readonly optimizer: AdamW;
}

/** Cuts the model for this rank, dimension by dimension, and allocates what is left: `weights`, or the seed's. */
export async function openRank(setup: Setup, world: ProcessGroup, weights?: Initialize): Promise<Rank> {
  const { config, shape } = setup;
  const { precision: dtype, sequenceParallel, zero, bucketMegabytes } = config;
  const mesh = await createMesh(world, config);
  const model = createLlama(shape, { ...config, dtype, gradDtype: config.gradientPrecision });
  await applyTensorParallel(model, mesh.tp, { sequenceParallel });
  applyContextParallel(model, mesh.cp, { order: config.contextOrder });
  const parts = await applyPipelineParallel(model, mesh.pp, chunksOf(config), config.ppBalance);
  for (const part of parts) initialize(part, weights ?? setup.weights ?? initialWeights(config.seed, shape));
  const parameters = parts.flatMap((part) => part.parameters);
  const buckets = { backwards: config.gradAccSteps, bucketBytes: bucketMegabytes * 2 ** 20, zero };
  const data =
    bucketMegabytes > 0
      ? bucketedDataParallel(parameters, mesh.dpCp, buckets)
      : naiveDataParallel(parameters, mesh.dpCp);
  world.recorder.reset(); // what comes from here on is training
  return { setup, mesh, parts, parameters, data, optimizer: new AdamW(data.updated, config) };
}

/** The positions of each sequence that this rank sees. */
const positionsOf = ({ parts, setup: { config } }: Rank): Int32Array =>
  (parts[0] as Llama).positions(config.seqLength / config.cp);

// ## A step
//
// Nothing in a step waits for the device: the gradients' norm is computed, and clipped by, where the gradients are. The
// loop reads a step's numbers when the next step is on its way, so that a GPU always has something to do.

export interface Gradients {
  /** Over all ranks: the losses, the gradients' squares, and who was asked to stop, each summed. Float32 [3]. */
  readonly sums: tf.Tensor;
  readonly ran: readonly Ran[];
}

/** Puts the gradients of the step's mean loss, over all ranks' tokens, into `rank.data.updated`. */
export async function gradientsOf(rank: Rank, step: number, stopping = false): Promise<Gradients> {
  const { setup, mesh, parts, data } = rank;
  const { config, text } = setup;
  const request = { tokens: text.train, ...config, step, sequencesPerStep: sequencesPerStep(config) };
  const micros = sequencesOf({ ...config, dpRank: mesh.coordinates.dp }).map((sequences) =>
    atPositions(batchAt({ ...request, sequences }), positionsOf(rank)),
  );
  const options = { engine: config.ppEngine, tokenRanks: tokenRanksOf(config) };
  const { loss, ran } = await runPipeline(parts, mesh.pp, micros, options);
  mesh.world.recorder.spans?.push(...ran.map(spanOf));
  await data.reduced();
  const squares = squaredNorm(data.updated);
  const mine = tf.tidy(() => tf.stack([loss, squares, stopping ? tf.onesLike(loss) : tf.zerosLike(loss)]));
  const sums = await mesh.world.allReduce(mine);
  tf.dispose([loss, squares, mine]);
  return { sums, ran };
}

/** One step of the optimizer, with the gradients that `sums` are of. */
export async function update({ setup, data, optimizer }: Rank, learningRate: number, sums: tf.Tensor): Promise<void> {
  const squares = tf.tidy(() => kernels.reshape(kernels.slice(sums, 0, 1, 1), []));
  optimizer.update(learningRate, { squares, clip: setup.config.clip });
  squares.dispose();
  await data.gathered();
}

/** A step's numbers, once the device has computed them. Takes `sums` over. */
export async function numbersOf({ setup: { config }, mesh }: Rank, sums: tf.Tensor) {
  const reading = readTimed(sums);
  sums.dispose();
  const { numbers, at } = await reading;
  const [losses = 0, squares = 0, stops = 0] = numbers;
  // The loss is on the ranks that have the last stage, all with equally many tokens: their mean.
  const loss = (losses * config.pp) / mesh.world.size;
  return { loss, gradNorm: Math.sqrt(squares), stop: stops > 0, at };
}

// ## The loop

/** Trains as one rank of the world, says how it goes if it is the first, and returns the last validation loss. */
export async function trainRank(setup: Setup, world: ProcessGroup, log: RunLog | undefined, signal?: AbortSignal) {
  const { config } = setup;
  const { recorder } = world;
  const rank = await openRank(setup, world);
  let [step, start, stop, validation, ran] = [0, performance.now(), false, Number.NaN, [] as readonly Ran[]];
  const unread: { step: number; learningRate: number; numbers: ReturnType<typeof numbersOf> }[] = [];
  /** Reads and logs the numbers of all steps but the last so many. */
  const read = async (left: number) => {
    for (const { step, learningRate, numbers } of unread.splice(0, unread.length - left)) {
      const { loss, gradNorm, at, ...said } = await numbers;
      if (!Number.isFinite(loss))
        throw new UserError(`the loss of step ${step} is ${loss}: use a smaller learningRate`);
      log?.step({ step, loss, gradNorm, learningRate, ...figures(setup, world, at - start) });
      [start, stop] = [at, stop || said.stop];
    }
  };
  while (step < config.steps && !stop) {
    if (config.trace && step === Math.max(0, config.steps - TRACED))
      [recorder.trace, recorder.spans, recorder.device] = [[], [], []];
    const gpu = recorder.device && (await startDeviceTrace(world));
    const learningRate = learningRateAt(step, config);
    const profile = log && step + 1 === config.profile ? startProfile() : undefined;
    const gradients = await gradientsOf(rank, step, signal?.aborted);
    [step, ran] = [step + 1, gradients.ran];
    if (step === 1 && config.gradients) await recorder.apart(() => writeGradients(rank, config.gradients as string));
    await recorder.time('update', () => update(rank, learningRate, gradients.sums));
    if (gpu) recorder.device?.push(await gpu());
    if (profile) log?.say(profileReport(profile(), { ...config, device: setup.backend.description }));
    unread.push({ step, learningRate, numbers: numbersOf(rank, gradients.sums) });
    const due = (every: number) => step === config.steps || (every > 0 && step % every === 0);
    const [validates, samples] = [due(config.evalEvery), due(config.sampleEvery) && config.sampleTokens > 0];
    await read(validates || samples ? 0 : 1);
    if (validates) {
      validation = await recorder.apart(() => validate(rank));
      log?.validation({ step, loss: validation, bitsPerByte: bitsPerByte(validation, setup) });
    }
    const text = samples ? await recorder.apart(() => write(rank)) : undefined;
    if (text !== undefined) log?.say(text);
    if (validates || samples) start = performance.now();
    await new Promise(setImmediate); // lets a signal through: kernels leave Node no other moment
  }
  await read(0);
  if (world.size > 1) await report(rank, step, ran, log);
  if (setup.plan) await exportRanks(setup.plan, parameterShapes(setup.shape), rank, log?.say);
  rank.optimizer.dispose();
  for (const parameter of new Set([...rank.parameters, ...rank.data.updated])) parameter.dispose();
  return validation;
}

/** What a step that took so long says of speed and memory. */
function figures({ config, shape, backend }: Setup, world: ProcessGroup, milliseconds: number) {
  const tokensPerSecond = (1000 * sequencesPerStep(config) * config.seqLength) / milliseconds;
  const size = { ...shape, parameters: parameterCount(shape), seqLength: config.seqLength };
  const devices = isLaunched() ? world.size : 1;
  const mfu = mfuOf(tokensPerSecond / devices, size, peakFlops(backend.description, config.precision));
  return { tokensPerSecond, milliseconds, memoryBytes: memory().peakBytes, mfu };
}

async function writeGradients({ setup, parameters, mesh, data }: Rank, path: string): Promise<void> {
  const mine = await data.wholeGradients();
  const all = await gatherWhole(parameterShapes(setup.shape), parameters, mesh, (one) => mine.get(one) as tf.Tensor);
  tf.dispose([...mine.values()]);
  if (mesh.world.rank === 0) await writeTensors(path, all);
}

// ## How good it is

/** The mean loss over the first evalSequences of the validation text, in nats a token. */
export async function validate(rank: Rank): Promise<number> {
  const { setup, mesh, parts } = rank;
  const { config, text } = setup;
  const request = { tokens: text.validation, ...config, maxSequences: config.evalSequences };
  const tokenRanks = tokenRanksOf(config);
  const mine = [...validationBatches(request)].filter((_, i) => i % config.dp === mesh.coordinates.dp);
  const [losses, tokens] = [[zeros([])], [0]];
  for (const batch of mine) {
    const micro = atPositions(batch, positionsOf(rank));
    const { loss } = await runPipeline(parts, mesh.pp, [micro], { engine: 'forward', tokenRanks });
    losses.push(loss);
    tokens.push(parts.at(-1)?.loss ? micro.inputs_BT.length : 0);
  }
  const sums = tf.tidy(() => {
    const each = constant(tokens, [tokens.length]);
    return tf.stack([tf.sum(tf.mul(tf.stack(losses), each)), tf.sum(each)]);
  });
  const all = await mesh.world.allReduce(sums);
  const [total = 0, count = 0] = await readLater(all);
  tf.dispose([...losses, sums, all]);
  return total / count;
}

/** Comparable between tokenizers: how many bits the model needs for a byte of the text. */
const bitsPerByte = (nats: number, { text }: Setup): number =>
  (nats * text.validation.count) / text.validation.bytes / Math.LN2;

/** What the model writes after the prompt. The first rank gathers all weights for that; the others get undefined. */
async function write({ setup, mesh, parameters }: Rank): Promise<string | undefined> {
  const { config, shape, tokenizer } = setup;
  const weights = await gatherWhole(parameterShapes(shape), parameters, mesh, ({ value }) => value);
  if (mesh.world.rank > 0) return undefined;
  const model = createLlama(shape, { dtype: config.precision });
  initialize(model, ({ name }) => weights.get(name) as tf.Tensor);
  const { sampleTokens: tokens, temperature, seed, seqLength: context } = config;
  const text = await sample(model, tokenizer, config.prompt, { tokens, temperature, seed, context });
  tf.dispose([...weights.values()]);
  for (const parameter of model.parameters) parameter.dispose();
  return text;
}

// ## What it cost

/** Gathers what all ranks counted, and lets the first say it. */
async function report(rank: Rank, steps: number, ran: readonly Ran[], log: RunLog | undefined): Promise<void> {
  const { setup, mesh } = rank;
  const { model, pp, gradAccSteps, ppEngine, trace } = setup.config;
  const sent = predictedBytes(setup, mesh, rank.parts, rank.data.bytes());
  const predicted = Object.entries(sent).map(([group, bytes]) => [group, steps * bytes]);
  const mine = rankRun(mesh, { predicted: Object.fromEntries(predicted), peakBytes: memory().peakBytes, ran });
  const runs = await mesh.world.recorder.apart(() => gatherObjects(mesh.world, mine));
  const title = `${model}: ${ppEngine}, ${pp} stages, ${gradAccSteps} micro-batches`;
  const share = bubble(pipelineShape(setup.config));
  log?.say(runReport(runs, { title, steps, oneProcess: !isLaunched(), bubble: share, trace }));
}

// ## The command

async function main(): Promise<void> {
  const usage = 'Trains a Llama on a text and prints how it goes, then text that it writes.';
  const given = process.argv.slice(2);
  const argv =
    given.length > 0 ? given : ['--config', fileURLToPath(new URL('../../../configs/start.json', import.meta.url))];
  const config = readConfig({ schema: settings, argv, name: 'npm start --', usage });
  const ranks = rankCount(config);
  if (config.launcher === 'processes' && ranks > 1 && !isLaunched()) {
    await checkModel(config);
    return launch(['--nproc', String(ranks), fileURLToPath(import.meta.url), ...argv]);
  }
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort(signal));
  const setup = await prepare(config);
  const body = async (world: ProcessGroup) => {
    if (world.rank > 0) return trainRank(setup, world, undefined, stop.signal);
    const { trace, gradients, model, data } = config;
    introduce(setup, console.log);
    const log = openRunLog({ ...config, title: `${model} on ${data}`, later: [trace, gradients] });
    const validation = await trainRank(setup, world, log, stop.signal);
    log.close();
    return validation;
  };
  const transport = setup.backend.device === 'cuda' ? 'nccl' : 'tcp';
  await (isLaunched() ? inWorld({ transport }, body) : spmd(ranks, body));
  setup.close();
  if (stop.signal.aborted) process.exitCode = stop.signal.reason === 'SIGINT' ? 130 : 143;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await runMain(main);
