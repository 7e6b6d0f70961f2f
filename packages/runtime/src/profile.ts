/**
 * Where a step's time goes: every TensorFlow op, counted and timed.
 *
 * On a CPU an op has done its work when the call returns, so the times add up to the step's; what is missing is our own
 * JavaScript. On a GPU the call only starts the kernel, and these are the times of starting: the
 * kernels' own are in device-profile.ts.
 */
import { type Binding, tensorflow } from './tensorflow.ts';

/** All calls of one op. */
export interface OpTime {
  /** Its registered name. */
  readonly op: string;
  /** How many. */
  calls: number;
  /** Of all of them together. */
  milliseconds: number;
}

/**
 * Runs `work` and returns the time of each op that ran in it, longest first: by this thread's clock, in which a GPU's
 * ops are only enqueued.
 *
 * @throws UserError without TensorFlow
 */
export async function profileOps(work: () => Promise<void>): Promise<OpTime[]> {
  const backend = tensorflow();
  const { binding } = backend;
  const times = new Map<string, OpTime>();
  const executeOp: Binding['executeOp'] = (op, ...rest) => {
    const start = performance.now();
    const outputs = binding.executeOp(op, ...rest);
    const time = times.get(op) ?? { op, calls: 0, milliseconds: 0 };
    time.calls += 1;
    time.milliseconds += performance.now() - start;
    times.set(op, time);
    return outputs;
  };
  backend.binding = Object.create(binding, { executeOp: { value: executeOp } });
  try {
    await work();
  } finally {
    backend.binding = binding;
  }
  return [...times.values()].sort((a, b) => b.milliseconds - a.milliseconds);
}
