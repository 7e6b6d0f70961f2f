import { attr, executeMany, openBackend } from '@fourfold/runtime';
import { tensorflow } from '@fourfold/runtime/tensorflow';
import { withClock } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { COMPUTE, startDeviceTrace } from '../src/device-trace.ts';
import { spmd } from '../src/index.ts';
import { makeRank } from './nccl-fake.ts';

beforeAll(() => openBackend({ device: 'cpu', threads: 1 }));

/** One number, taken the negative of: an op of the backend, which gets two marks. */
function negative(): void {
  const x = tf.scalar(1);
  tf.dispose([x, tf.neg(x)]);
}

test('where tensors do not travel between GPUs there is no such trace', async () => {
  await spmd(2, async (world) => {
    expect(world.timeCalls).toBe(undefined);
    expect(await startDeviceTrace(world)).toBe(undefined);
  });
});

test('ops and collectives stand beside each other, from a moment at which the GPU had nothing to do', async () => {
  const { group, native } = makeRank(0, 2);
  const x = tf.zeros([4]);
  await withClock(async () => {
    const before = performance.timeOrigin + performance.now();
    const stop = await startDeviceTrace(group);
    const after = performance.timeOrigin + performance.now();
    expect(native.log).toEqual(['drained', 'start timing at 0']); // the clock's first mark
    native.log.length = 0;
    negative();
    const sum = group.allReduce(x);
    negative();
    (await sum).dispose();
    const trace = await stop?.();
    expect(native.log.slice(-2)).toEqual(['drained', 'stop timing']);
    expect(trace?.start).toBeGreaterThanOrEqual(before);
    expect(trace?.start).toBeLessThanOrEqual(after);
    const tracks = trace?.spans.map(({ track, name }) => [track, name]);
    expect(tracks?.at(-1)).toEqual(['world', 'allReduce']);
    expect(tracks?.filter(([, name]) => name === 'Neg')).toEqual([
      [COMPUTE, 'Neg'],
      [COMPUTE, 'Neg'],
    ]);
    expect(trace?.spans[0]).toEqual({ track: COMPUTE, name: 'Neg', start: 1, end: 2 });
    negative(); // no longer timed
    expect(await startDeviceTrace(group).then((again) => again?.())).toMatchObject({ spans: [] });
  });
  x.dispose();
});

test("an op that only starts a collective is none of the compute stream's, and times are rounded", async () => {
  const { group, native } = makeRank(0, 2);
  const backend = tensorflow();
  const { binding } = backend;
  await withClock(async () => {
    backend.binding = Object.create(binding, { executeOp: { value: () => [] } });
    try {
      const stop = await startDeviceTrace(group);
      for (const op of ['FourfoldNcclAllReduce', 'FourfoldAdamW']) executeMany(op, [], [attr.int('comm', 0)], 0);
      native.stopTiming = () => [];
      const { cuda } = backend as unknown as { cuda: { marks: () => number[] } };
      cuda.marks = () => [0, 1, 2, 3.00004, 4.00006];
      expect((await stop?.())?.spans).toEqual([{ track: COMPUTE, name: 'FourfoldAdamW', start: 3, end: 4.0001 }]);
    } finally {
      backend.binding = binding;
    }
  });
});
