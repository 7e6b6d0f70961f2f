/**
 * What this rank's GPU does and when, computing and communication beside each other, so that overlap can be seen:
 *
 *     compute   [ backward of layer 3 ][ of layer 2 ][ of layer 1 ]          [ AdamW ]
 *     dpCp                             [ allReduce 25 MB ][ allReduce 25 MB ]
 *                                                                   exposed: nothing computes meanwhile
 *
 *     const stop = await startDeviceTrace(world)
 *     ...                                                    a step
 *     const trace = await stop?.()                           { start, spans: [{ track: 'compute', name, start, end }] }
 *
 * Both clocks are the GPU's, and count from one event in TensorFlow's stream. The trace begins and ends with a GPU that
 * has nothing to do: so an event's time on the host is known, and no rank reads times while it waits for a peer.
 */
import { timeOps } from '@fourfold/runtime/device-times';
import { type DeviceSpan, type DeviceTrace, now } from './calls.ts';
import type { ProcessGroup } from './process-group.ts';

/** The track of what computes. */
export const COMPUTE = 'compute';

/** Starts a trace, which what it returns ends (times in ms); undefined where the tensors don't travel between GPUs. */
export async function startDeviceTrace(group: ProcessGroup): Promise<(() => Promise<DeviceTrace>) | undefined> {
  const { timeCalls } = group;
  if (!timeCalls) return undefined;
  await group.drained();
  const ops = timeOps();
  const stopCalls = timeCalls(ops.base);
  const start = now();
  return async () => {
    await group.drained();
    const calls = stopCalls(); // before the mark that they count from is forgotten
    const computed = ops.stop().filter(({ op }) => !op.startsWith(COLLECTIVES));
    return {
      start,
      spans: [...computed.map(({ op, ...when }) => ({ track: COMPUTE, name: op, ...when })), ...calls].map(rounded),
    };
  };
}

/** Ops that start a collective, and do nothing in TensorFlow's own stream. */
const COLLECTIVES = 'FourfoldNccl';

/** To a tenth of a microsecond, of which the GPU's clock ticks no finer: traces travel as text. */
const rounded = (span: DeviceSpan): DeviceSpan => ({ ...span, start: tenth(span.start), end: tenth(span.end) });
const tenth = (milliseconds: number): number => Math.round(1e4 * milliseconds) / 1e4;
