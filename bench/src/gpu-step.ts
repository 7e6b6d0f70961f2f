/**
 * Our side of bench:gpu: one process that makes a model, trains it on random tokens, and says what that took.
 *
 * A step is forward, backward, the gradients' norm with clipping, and AdamW. Nothing waits for the GPU between steps;
 * each one's time is from the GPU's end of the step before to its own end.
 */
import { profileReport } from '@fourfold/metrics';
import {
  createLlama,
  type Initialize,
  initialize,
  type LlamaConfig,
  lossAndGradients,
  type Recompute,
} from '@fourfold/model';
import { kernels, partOf } from '@fourfold/ops';
import { AdamW, squaredNorm } from '@fourfold/optim';
import {
  attr,
  execute,
  keyOf,
  memory,
  openBackend,
  profileDevice,
  randomWords,
  readLater,
  resetPeak,
} from '@fourfold/runtime';
import { ints } from '@fourfold/runtime/shapes';
import { tensorflow } from '@fourfold/runtime/tensorflow';
import * as tf from '@tensorflow/tfjs-core';

/** What one process is to do. */
export interface Task {
  readonly config: LlamaConfig;
  readonly batch: number;
  readonly seq: number;
  /** Steps before those that count, one at least. */
  readonly warmup: number;
  readonly steps: number;
  readonly recompute: Recompute;
  readonly deterministic: boolean;
  readonly dtype: 'float32' | 'bfloat16';
  /** What matrices' gradients are kept in. */
  readonly gradients: 'float32' | 'bfloat16';
  readonly moments: 'float32' | 'bfloat16';
  readonly masterWeights: boolean;
  readonly device: 'cuda' | 'cpu';
  /** Whether to take the times of a further step's ops. */
  readonly profile: boolean;
}

/** What it found; the same as torch_gpu.py prints. */
export interface Measured {
  /** TensorFlow's, or PyTorch's. */
  readonly version: string;
  readonly device: string;
  /** Of each step that counts. */
  readonly milliseconds: readonly number[];
  /** The most memory of the device that was in use in steps that count. */
  readonly peakBytes: number;
  /** Of the last step. */
  readonly loss: number;
  /** Where the time of one step went. */
  readonly profile?: string;
}

/** Runs a task and returns what it took. */
export async function measure(task: Task): Promise<Measured> {
  const { warmup, steps, dtype } = task;
  const backend = await openBackend({ device: task.device });
  const step = trainingStep(task);
  const clock = openClock();
  let loss: Promise<Float32Array> | undefined;
  for (let i = 0; i < warmup + steps; i++) {
    if (i === warmup) resetPeak();
    const before = loss;
    ({ loss } = await step());
    clock.mark();
    await before; // as in training: a step's loss is read when the next is on its way
  }
  const [last = Number.NaN] = (await loss) ?? [];
  const ends = clock.marks();
  const milliseconds = ends.slice(warmup).map((end, i) => end - (ends[warmup + i - 1] as number));
  const { devicePeakBytes, peakBytes } = memory();
  const [version = '', device = ''] = backend.description.split(' on ');
  const result = { version, device, milliseconds, peakBytes: devicePeakBytes ?? peakBytes, loss: last };
  if (!task.profile) return result;
  const profile = await profileDevice(async () => void (await (await step()).loss));
  return { ...result, profile: profileReport(profile, { device, precision: dtype }) };
}

type Training = Omit<Task, 'warmup' | 'steps' | 'device' | 'profile'>;
/** Makes the model and returns what runs one step of it; the step's loss is a promise in what that returns. */
export function trainingStep({
  config,
  batch,
  seq,
  dtype,
  recompute,
  deterministic,
  gradients,
  moments,
  masterWeights,
}: Training) {
  const model = createLlama(config, { dtype, gradDtype: gradients, recompute, deterministic });
  initialize(model, quickWeights);
  const optimizer = new AdamW(model.parameters, { weightDecay: 0.1, moments, masterWeights });
  const words = randomWords(keyOf(0, 'tokens'), 0, 2 * batch * seq);
  const ids = Int32Array.from(words, (word) => word % config.vocabulary);
  const tokens_BT = tf.tensor2d(ids.subarray(0, batch * seq), [batch, seq], 'int32');
  const targets_BT = tf.tensor2d(ids.subarray(batch * seq), [batch, seq], 'int32');
  return async (): Promise<{ loss: Promise<Float32Array> }> => {
    const loss = await lossAndGradients(model, tokens_BT, targets_BT);
    const squares = squaredNorm(model.parameters);
    optimizer.update(3e-4, { squares, clip: 1 });
    const reading = readLater(loss);
    tf.dispose([loss, squares]);
    return { loss: reading };
  };
}

/**
 * Normal numbers of standard deviation 0.02, drawn by the device itself, and ones for norms: any weights will do. A
 * weight has its numbers from its name alone: TensorFlow's RandomStandardNormal would go on where it last ended. A rank
 * draws the whole, and takes its part.
 */
export const quickWeights: Initialize = ({ name, fullShape, shard }) =>
  tf.tidy(() => {
    if (fullShape.length === 1) return partOf(tf.ones([...fullShape]), shard);
    const seed = keyOf(0, name).map((word) => word | 0);
    const types = [attr.type('dtype', 'float32'), attr.type('T', 'int32'), attr.type('Tseed', 'int32')];
    const normal = execute('StatelessRandomNormal', [ints(...fullShape), ints(...seed)], types);
    return kernels.scale(partOf(normal, shard), 0.02);
  });

/** The GPU's clock; where there is none this process's. Milliseconds of each mark after the first. */
export function openClock(): { mark: () => void; marks: () => number[] } {
  const { cuda } = tensorflow();
  if (cuda) return { mark: () => cuda.mark(), marks: () => cuda.marks() };
  const times: number[] = [];
  return { mark: () => void times.push(performance.now()), marks: () => times.map((time) => time - (times[0] ?? 0)) };
}
