/**
 * Trains a Llama on a text, on one rank or many: the loop, of which the last line makes a command.
 *
 *     npm start                                             16 ranks, dp2 x pp2 x cp2 x tp2, in this process
 *     npm start -- --model SmolLM-135M --data sotu --tokenizer gpt2
 *     npx nx run train:start -- --dp 2 --tp 2 --launcher processes --steps 50
 *
 * A step is: micro-batches through the pipeline, whose gradients add up; their mean over all ranks; its norm, clipped;
 * AdamW. A step's batch depends on the seed and the step alone, and so do the first weights: every layout of ranks
 * computes the same losses.
 */
import type { Saver } from '@fourfold/checkpoint';
import { applyContextParallel } from '@fourfold/context-parallel';
import { atPositions, batchAt, sequencesOf, validationBatches } from '@fourfold/data';
import { bucketedDataParallel, naiveDataParallel } from '@fourfold/data-parallel';
import { profileReport, type RunLog, spanOf } from '@fourfold/metrics';
import { createLlama, type Initialize, initialize, initialWeights, type Llama } from '@fourfold/model';
import { kernels } from '@fourfold/ops';
import { AdamW, learningRateAt, Outliers, squaredNorm } from '@fourfold/optim';
import { applyPipelineParallel, type Ran, runPipeline } from '@fourfold/pipeline-parallel';
import { createMesh, type ProcessGroup, startDeviceTrace } from '@fourfold/process-group';
// biome-ignore format: a list
import {
  type Around, aboutOf, bitsPerByte, checkWithoutDisk, figures, nonFinite, type Rank, trainingCommand, writeSample,
  zeroWeights,
} from '@fourfold/run';
import { constant, readLater, readTimed, startProfile, zeros } from '@fourfold/runtime';
import { chunksOf, type Setup, sequencesPerStep, TRACED, tokenRanksOf } from '@fourfold/settings';
import { applyTensorParallel } from '@fourfold/tensor-parallel';
import * as tf from '@tensorflow/tfjs-core';

export type { Rank } from '@fourfold/run';

// ## What a rank works with

/**
 * Cuts the model for this rank, dimension by dimension, and allocates what is left: `weights`, or the seed's. All ranks
 * call it.
 *
 * @throws UserError where the layout doesn't fit the world, or the model can't be split so
 */
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

/** What a step's forwards and backwards leave beside the gradients. */
export interface Gradients {
  /** Sums over all ranks: losses, gradients' squares, how many were asked to stop and have written. Float32 [4]. */
  readonly sums: tf.Tensor;
  /** What this rank brought into the sums, float32 [4]. Both tensors are the caller's. */
  readonly own: tf.Tensor;
  /** What the pipeline ran, and when, for a trace. */ readonly ran: readonly Ran[];
}

/** What ranks tell each other beside the gradients, and so all learn after the same step. */
export interface Votes {
  /** Asked to stop. */
  readonly stop?: boolean | undefined;
  /** Its file of the checkpoint that is on its way is on the disk. */
  readonly written?: boolean | undefined;
}

/** Puts the gradients of step `step`'s (from 0) mean loss, over all ranks' tokens, into `rank.data.updated`. */
export async function gradientsOf(rank: Rank, step: number, votes: Votes = {}): Promise<Gradients> {
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
  const vote = (is = false) => (is ? tf.onesLike(loss) : tf.zerosLike(loss));
  const own = tf.tidy(() => tf.stack([loss, squares, vote(votes.stop), vote(votes.written)]));
  const sums = await mesh.world.allReduce(own);
  tf.dispose([loss, squares]);
  return { sums, own, ran };
}

/** One step of the optimizer, with the gradients that `sums` are of, which stay the caller's. All ranks call it. */
export async function update({ setup, data, optimizer }: Rank, learningRate: number, sums: tf.Tensor): Promise<void> {
  const squares = tf.tidy(() => kernels.reshape(kernels.slice(sums, 0, 1, 1), []));
  optimizer.update(learningRate, { squares, clip: setup.config.clip });
  squares.dispose();
  await data.gathered();
}

/**
 * A step's numbers, once the device has computed them: the mean loss in nats a token, the gradient's norm before
 * clipping, and when they were there, in performance.now()'s milliseconds. Takes `sums` over.
 */
export async function numbersOf({ setup: { config }, mesh }: Rank, sums: tf.Tensor) {
  const reading = readTimed(sums);
  sums.dispose();
  const { numbers, at } = await reading;
  const [losses = 0, squares = 0, stops = 0, written = 0] = numbers;
  // The loss is on the ranks that have the last stage, all with equally many tokens: their mean.
  const loss = (losses * config.pp) / mesh.world.size;
  return { loss, gradNorm: Math.sqrt(squares), stop: stops > 0, written: written === mesh.world.size, at };
}

// ## The loop

interface Unread {
  readonly step: number;
  readonly learningRate: number;
  readonly own: tf.Tensor;
  readonly numbers: ReturnType<typeof numbersOf>;
}

/** Reads steps' numbers after they were enqueued, and logs them; they say too what all ranks do next. */
function readerOf(rank: Rank, saver: Saver | undefined, log: RunLog | undefined) {
  const { setup, mesh } = rank;
  return {
    unread: undefined as Unread | undefined,
    /** When the step before the unread one ended. */
    start: performance.now(),
    /** Whether a rank was asked to stop. */
    stop: false,
    async read() {
      if (!this.unread) return;
      const { step, learningRate, own, numbers } = this.unread;
      this.unread = undefined;
      const { loss, gradNorm, at, ...all } = await numbers;
      if (!Number.isFinite(loss + gradNorm)) {
        await saver?.close();
        throw await nonFinite(rank, { step, loss, gradNorm, own });
      }
      own.dispose();
      log?.step({ step, loss, gradNorm, learningRate, ...figures(setup, mesh.world, at - this.start) });
      [this.start, this.stop] = [at, this.stop || all.stop];
      if (all.written) await mesh.world.recorder.apart(async () => saver?.commit());
    },
  };
}

/** Whether the last 128 steps say not to take this one: then its gradients are dropped. Waits for the device. */
async function drops(rank: Rank, outliers: Outliers, sums: tf.Tensor): Promise<number | undefined> {
  const { loss, gradNorm } = await numbersOf(rank, sums.clone());
  const z = outliers.judge(loss, gradNorm);
  if (z) for (const parameter of rank.data.updated) parameter.clearGradient();
  return z;
}

/**
 * Trains as one rank of the world, from the seed's weights or from the checkpoint that was `found`; says how it goes if
 * it is the first, and returns the last validation loss, in nats a token; NaN where none was taken.
 *
 * @throws UserError where the loss or a gradient is no number, or a setting needs a disk that isn't there
 */
export async function trainRank(setup: Setup, world: ProcessGroup, around: Around): Promise<number> {
  const [{ config }, { recorder }, { log, signal, disk, found, between }] = [setup, world, around];
  if (!disk) checkWithoutDisk(config);
  const rank = await openRank(setup, world, found && zeroWeights);
  if (found) await recorder.apart(async () => disk?.restore(rank, found));
  const saver = await recorder.apart(async () => disk?.openSaver(rank, (line) => log?.say(line)));
  const reader = readerOf(rank, saver, log);
  const outliers = config.skipOutliers ? new Outliers(config.skipOutliers, found?.manifest.window) : undefined;
  const begun = found?.manifest.step ?? 0;
  let [step, saved, validation, ran] = [begun, begun, Number.NaN, [] as readonly Ran[]];
  const save = async () => {
    if (step > saved) await recorder.apart(async () => saver?.save(aboutOf(rank, step, outliers?.window)));
    saved = step;
  };
  while (step < config.steps && !reader.stop) {
    if (config.trace && step === Math.max(0, config.steps - TRACED))
      [recorder.trace, recorder.spans, recorder.device] = [[], [], []];
    const gpu = recorder.device && (await startDeviceTrace(world));
    const learningRate = learningRateAt(step, config);
    const profile = log && step + 1 === config.profile ? startProfile() : undefined;
    const gradients = await gradientsOf(rank, step, { stop: signal?.aborted, written: saver?.isWritten });
    await reader.read(); // the former step's numbers, while a GPU is busy with this one
    [step, ran] = [step + 1, gradients.ran];
    if (step === 1 && config.gradients)
      await recorder.apart(async () => disk?.writeGradients(rank, config.gradients as string));
    const { sums, own } = gradients;
    const z = outliers && (await drops(rank, outliers, sums));
    if (z) log?.say(`step ${step} is skipped: its loss or gradient is ${z.toFixed(1)} deviations above the mean`);
    else await recorder.time('update', () => update(rank, learningRate, sums));
    if (gpu) recorder.device?.push(await gpu());
    if (profile) log?.say(profileReport(profile(), { ...config, device: setup.backend.description }));
    reader.unread = { step, learningRate, own, numbers: numbersOf(rank, sums) };
    const due = (every: number) => step === config.steps || (every > 0 && step % every === 0);
    const [validates, samples] = [due(config.evalEvery), due(config.sampleEvery) && config.sampleTokens > 0];
    const saves = saver && due(config.saveEvery);
    if (validates || samples || saves) await reader.read();
    if (validates) {
      validation = await recorder.apart(() => validate(rank));
      log?.validation({ step, loss: validation, bitsPerByte: bitsPerByte(validation, setup) });
    }
    const text = samples ? await recorder.apart(() => writeSample(rank)) : undefined;
    if (text !== undefined) log?.say(text);
    if (saves) await save();
    if (validates || samples) reader.start = performance.now();
    await between?.();
  }
  await reader.read();
  await save();
  await recorder.apart(async () => saver?.close());
  if (world.size > 1 && step > begun) await disk?.report(rank, step - begun, ran, log);
  await disk?.exportModel(rank, log?.say);
  rank.optimizer.dispose();
  for (const parameter of new Set([...rank.parameters, ...rank.data.updated])) parameter.dispose();
  return validation;
}

// ## How good it is

/** The mean loss over the first evalSequences of the validation text, in nats a token. All ranks call it. */
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

// ## The command

await trainingCommand(import.meta.url, trainRank);
