/**
 * When each TensorFlow op runs on a GPU.
 *
 *     mark   mark  FourfoldRmsNorm  mark    mark  FourfoldProduct  mark  ...
 *     |      |<----- the op ------->|<gap ->|<----- the op ------>|
 *     times count from here
 *
 * A mark is a CUDA event in the stream that the kernels are in: the GPU writes down when it gets there, and nobody
 * waits. A gap is time in which the GPU had run out of work, or waited for another GPU. An op that comes after a gap is
 * counted with the 20 us or so in which it was being started: small ops at such places look longer than their kernels
 * are. All of that costs the host some 10 us an op.
 */
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { UserError } from './errors.ts';
import { type Attribute, type NodeBackend, type TensorflowBackend, tensorflow } from './tensorflow.ts';

/** One call of an op; times are milliseconds on the GPU's clock. */
export interface TimedOp {
  /** Its registered name. */
  readonly op: string;
  /** When it began. */
  readonly start: number;
  /** When it was done. */
  readonly end: number;
}

/** Sees an op before it runs; what it returns sees the outputs. */
export type See = (op: string, attributes: Attribute[], inputs: TensorInfo[]) => (outputs: TensorInfo[]) => void;

/** A timing that goes on. */
export interface OpTimes {
  /** The mark that times count from, as the driver names it: another module's times can count from it too. */
  readonly base: number;
  /** Ends the timing, waits for the GPU, and returns every op in the order in which they were started. */
  stop(): TimedOp[];
}

/**
 * Times every op from here on, one timing at a time, since marks don't say whose they are.
 *
 * @throws UserError without CUDA, Error while another timing goes on
 */
export function timeOps(see?: See): OpTimes {
  const backend = tensorflow();
  const { cuda } = backend;
  if (!cuda) throw new UserError("a GPU's times can only be taken on one: open cuda");
  if (Object.hasOwn(backend, 'executeSingleOutput')) throw new Error('ops are being timed already: end that first');
  const done: string[] = [];
  const base = cuda.mark();
  const leave = onEveryOp(backend, (run, op, attributes, inputs) => {
    const seen = see?.(op, attributes, inputs);
    cuda.mark();
    const outputs = run();
    cuda.mark();
    done.push(op);
    seen?.(outputs);
    return outputs;
  });
  const stop = () => {
    leave();
    const [, ...times] = cuda.marks();
    return done.map((op, i) => ({ op, start: times[2 * i] as number, end: times[2 * i + 1] as number }));
  };
  return { base, stop };
}

type Around = (run: () => TensorInfo[], op: string, attributes: Attribute[], inputs: TensorInfo[]) => TensorInfo[];

/** Lets `around` run every op until the function that is returned is called. */
function onEveryOp(backend: TensorflowBackend, around: Around): () => void {
  const { executeSingleOutput: single, executeMultipleOutputs: many } = backend;
  const own: Partial<NodeBackend> = {
    executeSingleOutput: (op, attributes, inputs) =>
      around(() => [single.call(backend, op, attributes, inputs)], op, attributes, inputs)[0] as ReturnType<
        typeof single
      >,
    executeMultipleOutputs: (op, attributes, inputs, outputs) =>
      around(() => many.call(backend, op, attributes, inputs, outputs), op, attributes, inputs) as ReturnType<
        typeof many
      >,
  };
  Object.assign(backend, own); // in front of the class's
  return () => {
    for (const name of Object.keys(own)) Reflect.deleteProperty(backend, name);
  };
}
