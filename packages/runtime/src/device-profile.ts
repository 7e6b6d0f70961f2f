/**
 * Where a step's time goes on a GPU: each TensorFlow op's time there, its arithmetic and its bytes, added up by op.
 *
 * device-times.ts says how the times are taken; metrics' profile-report.ts prints the table.
 */
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { type TimedOp, timeOps } from './device-times.ts';
import { type Attribute, sizeOf, type TensorflowBackend, tensorflow } from './tensorflow.ts';

/** All calls of one op. */
export interface DeviceOp {
  /** Its registered name, such as 'FourfoldProduct'. */
  readonly op: string;
  /** How many. */
  calls: number;
  /** On the GPU. */
  milliseconds: number;
  /** Floating-point operations, for matrix products and attention; 0 for others. */
  flops: number;
  /** Bytes of inputs and outputs: what a kernel must at least read and write. */
  bytes: number;
}

/** Where a GPU's time went. */
export interface DeviceProfile {
  /** Longest first. */
  readonly ops: readonly DeviceOp[];
  /** Milliseconds from the first op's start to the last one's end, on the GPU. */
  readonly milliseconds: number;
  /** Of those, how many the GPU spent in no op. */
  readonly idle: number;
}

type Work = Pick<DeviceOp, 'flops' | 'bytes'>;

/** Runs `work` and returns where the GPU's time went. It costs the host some 10 us an op; UserError without CUDA. */
export async function profileDevice(work: () => Promise<void>): Promise<DeviceProfile> {
  const stop = startProfile();
  const [outcome] = await Promise.allSettled([work()]);
  const profile = stop();
  if (outcome.status === 'rejected') throw outcome.reason;
  return profile;
}

/** The same for what runs until the function that is returned is called; that waits for the GPU. */
export function startProfile(): () => DeviceProfile {
  const done: Work[] = [];
  const { stop } = timeOps((op, attributes, inputs) => {
    const backend = tensorflow();
    const [inputBytes, flops] = [bytesRead(backend, op, attributes, inputs), flopsOf(op, attributes, inputs)];
    return (outputs) => void done.push({ flops: flops(outputs), bytes: inputBytes + bytesOf(backend, outputs) });
  });
  return () => summarize(stop().map((timed, i) => ({ ...timed, ...(done[i] as Work) })));
}

/** Sums up by op. */
export function summarize(done: readonly (TimedOp & Work)[]): DeviceProfile {
  const ops = new Map<string, DeviceOp>();
  for (const { op, start, end, flops, bytes } of done) {
    const sum = ops.get(op) ?? { op, calls: 0, milliseconds: 0, flops: 0, bytes: 0 };
    sum.calls += 1;
    sum.milliseconds += end - start;
    sum.flops += flops;
    sum.bytes += bytes;
    ops.set(op, sum);
  }
  const sorted = [...ops.values()].sort((a, b) => b.milliseconds - a.milliseconds);
  const milliseconds = (done.at(-1)?.end ?? 0) - (done[0]?.start ?? 0);
  const busy = sorted.reduce((sum, op) => sum + op.milliseconds, 0);
  return { ops: sorted, milliseconds, idle: milliseconds - busy };
}

// ## An op's work

const bytesOf = (backend: TensorflowBackend, tensors: readonly TensorInfo[]): number =>
  tensors.reduce((sum, { dataId }) => sum + sizeOf(backend.tensorMap.get(dataId)), 0);

/** An optimizer's outputs are its inputs' memory: all that lies before the gradients is read and written. */
function bytesRead(backend: TensorflowBackend, op: string, attributes: Attribute[], inputs: TensorInfo[]): number {
  const written = op === 'FourfoldAdamW' ? 3 * numberOf(attributes, 'N') + numberOf(attributes, 'K') : 0;
  return bytesOf(backend, inputs) + bytesOf(backend, inputs.slice(0, written));
}

const attributeOf = (attributes: readonly Attribute[], name: string): unknown =>
  attributes.find((attribute) => attribute.name === name)?.value;
const numberOf = (attributes: readonly Attribute[], name: string): number => Number(attributeOf(attributes, name) ?? 0);

const elements = ({ shape }: TensorInfo): number => shape.reduce((product, side) => product * side, 1);

// What a matrix product calls the transposing of its first factor. Its operations are 2 for each element of the result
// and each place along the side that is summed over.
const TRANSPOSED: Readonly<Record<string, string>> = {
  MatMul: 'transpose_a',
  _FusedMatMul: 'transpose_a',
  FourfoldProduct: 'transpose_a',
  BatchMatMulV2: 'adj_x',
};

/** Counts an op's floating-point operations, once its outputs are known. */
function flopsOf(op: string, attributes: Attribute[], inputs: TensorInfo[]): (outputs: TensorInfo[]) => number {
  const transposed = TRANSPOSED[op];
  if (transposed) {
    const summed = inputs[0]?.shape.at(attributeOf(attributes, transposed) ? -2 : -1) ?? 0;
    return ([y]) => (y ? 2 * elements(y) * summed : 0);
  }
  const flops = op.startsWith('FourfoldAttention') ? attentionFlops(op, attributes, inputs) : 0;
  return () => flops;
}

/**
 * Attention of q [B, T, H, K] to k [B, S, G, K]: two products forward and five backward (the scores once more, and the
 * gradients of v, of the probabilities, of q and of k), each of 2 B H T S K operations; with a causal mask half of it.
 */
function attentionFlops(op: string, attributes: Attribute[], inputs: TensorInfo[]): number {
  const [q, k] = op.endsWith('Grad') ? inputs.slice(1) : inputs;
  const products = op.endsWith('Grad') ? 5 : 2;
  const S = k?.shape[1] ?? 0;
  return (q ? products * 2 * elements(q) * S : 0) * (attributeOf(attributes, 'causal') ? 0.5 : 1);
}
