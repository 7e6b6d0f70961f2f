/**
 * One rank of bench:gpu-ranks: trains by the training command's own functions, on random tokens, and times its steps.
 *
 *     npx fourfold launch --nproc 2 bench/src/rank-steps.ts TASK FILE       TASK is a RankTask as JSON
 *
 * A step is all of it: micro-batches through the pipeline, the gradients' mean, their norm, AdamW. As in training
 * nothing in it waits for the GPU, and a step's numbers are read when the next is on its way. Its time is from the
 * GPU's end of the step before to its own end. Weights are drawn by the device, each whole one as a function of its
 * name, of which a rank takes its part: every layout begins at the same ones.
 */
import { writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { pathToFileURL } from 'node:url';
import { runMain } from '@fourfold/cli';
import { openTokenizer, type TokenizedText, type Tokens } from '@fourfold/data';
import { chromeTrace, deviceReport, drawGpus, plainCall, type TracedRank } from '@fourfold/metrics';
import { learningRateAt } from '@fourfold/optim';
// biome-ignore format: a list
import {
  type Call, type DeviceTrace, gatherObjects, inWorld, type ProcessGroup, type Span, startDeviceTrace,
} from '@fourfold/process-group';
import { keyOf, memory, openBackend, RunError, randomWords, resetPeak } from '@fourfold/runtime';
import { type Settings, type Setup, sequencesPerStep, shapeOf } from '@fourfold/settings';
import { gradientsOf, numbersOf, openRank, type Rank, update } from '@fourfold/train';
import { openClock, quickWeights } from './gpu-step.ts';

export interface RankTask {
  readonly config: Settings;
  /** Steps before those that are timed, one at least. */
  readonly warmup: number;
  readonly steps: number;
  /** File for a trace of some steps more. */
  readonly trace?: string | undefined;
}

/** What one rank measured. */
export interface RankFigures {
  /** Its place: 'dp0 tp1'; alone ''. */
  readonly label: string;
  /** Of each step that is timed. */
  readonly milliseconds: readonly number[];
  /** The most memory of the device that was in use in steps that are timed. */
  readonly peakBytes: number;
}

export interface Found {
  /** TensorFlow's. */
  readonly version: string;
  readonly device: string;
  readonly ranks: readonly RankFigures[];
  /** Of all steps from the first, those of the warm-up too; the same on every rank. */
  readonly losses: readonly number[];
  readonly gradNorms: readonly number[];
  /** What the trace says of computing and communication, a line each. */
  readonly gpuTimes: readonly string[];
}

/** Steps that a trace shows. */
const TRACED = 2;

/** Opens what `prepare` opens for the training command, with random tokens in memory as the text. */
export async function randomSetup(config: Settings): Promise<Setup> {
  const tokenizer = await openTokenizer('bytes'); // nobody writes or reads text here
  const shape = shapeOf(config, tokenizer);
  const backend = await openBackend({ device: config.device });
  // As many as one step takes: each step trains on the same ones, so that there is something to learn.
  const text = randomText(sequencesPerStep(config) * config.seqLength + 1, shape.vocabulary);
  return { config, shape, backend, tokenizer, text, close: text.close };
}

/** Both parts of the text are the same tokens: nobody validates. */
function randomText(count: number, vocabulary: number): TokenizedText {
  const ids = Int32Array.from(randomWords(keyOf(0, 'tokens'), 0, count), (word) => word % vocabulary);
  const read: Tokens['read'] = (start, length) => ids.slice(start, start + length);
  const part = (name: Tokens['part']): Tokens => ({ part: name, count, bytes: count, read });
  return { train: part('train'), validation: part('validation'), largestId: vocabulary - 1, close: () => {} };
}

/** Trains as one rank of the world; all ranks get what all measured. */
export async function timedSteps(task: RankTask, setup: Setup, world: ProcessGroup): Promise<Found> {
  const { warmup, steps, trace } = task;
  const rank = await openRank(setup, world, quickWeights);
  const clock = openClock();
  const numbers = await train(rank, 0, warmup + steps, (step) => {
    clock.mark();
    if (step === warmup - 1) resetPeak();
  });
  const bad = numbers.findIndex(({ loss }) => !Number.isFinite(loss));
  if (bad >= 0) throw new RunError(`the loss of step ${bad + 1} is ${numbers[bad]?.loss}`);
  await world.drained();
  const ends = clock.marks();
  const milliseconds = ends.slice(warmup).map((end, i) => end - (ends[warmup + i - 1] as number));
  const { devicePeakBytes, peakBytes } = memory();
  const mine: RankFigures = { label: rank.mesh.label, milliseconds, peakBytes: devicePeakBytes ?? peakBytes };
  const ranks = await gatherObjects(world, mine);
  const gpuTimes = trace ? await writeTrace(rank, warmup + steps, trace) : [];
  rank.optimizer.dispose();
  for (const parameter of new Set([...rank.parameters, ...rank.data.updated])) parameter.dispose();
  const [version = '', device = ''] = setup.backend.description.split(' on ');
  const [losses, gradNorms] = [numbers.map(({ loss }) => loss), numbers.map(({ gradNorm }) => gradNorm)];
  return { version, device, ranks, losses, gradNorms, gpuTimes };
}

/** Runs steps, and calls `onEnd` when all of one is on its way to the device. Returns the numbers of each. */
async function train(rank: Rank, first: number, count: number, onEnd: (step: number) => void = () => {}) {
  const { recorder } = rank.mesh.world;
  const numbers: ReturnType<typeof numbersOf>[] = [];
  for (let step = first; step < first + count; step++) {
    const { sums, own } = await gradientsOf(rank, step);
    own.dispose();
    await recorder.time('update', () => update(rank, learningRateAt(step, rank.setup.config), sums));
    numbers.push(numbersOf(rank, sums));
    onEnd(step);
    await numbers.at(-2);
    await new Promise(setImmediate); // lets in what the launcher and the other ranks have to say
  }
  return Promise.all(numbers);
}

/**
 * Runs some steps more, and writes what all ranks did in them and when: JSON for Perfetto, and on GPUs a picture of the
 * last step. Returns what the GPUs' times were, in words: none elsewhere.
 */
async function writeTrace(rank: Rank, first: number, file: string): Promise<string[]> {
  const { world, label } = rank.mesh;
  const [calls, spans, device]: [Call[], Span[], DeviceTrace[]] = [[], [], []];
  [world.recorder.trace, world.recorder.spans] = [calls, spans];
  for (let step = first; step < first + TRACED; step++) {
    const stop = await startDeviceTrace(world);
    await train(rank, step, 1);
    if (stop) device.push(await stop());
  }
  [world.recorder.trace, world.recorder.spans] = [undefined, undefined];
  const mine: TracedRank = { rank: world.rank, label, calls: calls.map(plainCall), spans, device };
  const ranks = await gatherObjects(world, mine);
  if (world.rank > 0) return [];
  writeFileSync(file, chromeTrace(ranks));
  drawGpus(ranks, `${basename(file, '.json')}: a step on the GPUs`, file);
  return deviceReport(ranks);
}

/** A rank that the launcher started: its task is on the command line. */
async function main([task = '', file = '']: readonly string[]): Promise<void> {
  const { config, ...rest } = JSON.parse(task) as RankTask;
  const setup = await randomSetup(config);
  const transport = setup.backend.device === 'cuda' ? 'nccl' : 'tcp';
  await inWorld({ transport }, async (world) => {
    const found = await timedSteps({ config, ...rest }, setup, world);
    if (world.rank === 0) writeFileSync(file, JSON.stringify(found));
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await runMain(() => main(process.argv.slice(2)));
