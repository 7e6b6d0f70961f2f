import { openBackend } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { CallTimes } from '../src/nccl/times.ts';
import { FakeNative, makeRank, newCall } from './nccl-fake.ts';

beforeAll(() => openBackend({ device: 'cpu', threads: 1 }));

test('collectives are timed under their groups and names, in the order in which they were started', async () => {
  const { group, native } = makeRank(0, 3);
  const x = tf.zeros([6, 3]);
  const before = await group.allReduce(x);
  const stop = group.timeCalls?.(77);
  const [first, second] = [group.allGather(x, 1), group.reduceScatter(x, 0)];
  const others = [await second, await first, await group.allReduce(x)];
  expect(stop?.()).toEqual([
    { track: 'world', name: 'allGather', bytes: 72, start: 10, end: 15 },
    { track: 'world', name: 'reduceScatter', bytes: 72, start: 20, end: 25 },
    { track: 'world', name: 'allReduce', bytes: 72, start: 30, end: 35 },
  ]);
  const after = await group.allReduce(x);
  expect(native.log.filter((line) => line.includes('timing'))).toEqual(['start timing at 77', 'stop timing']);
  tf.dispose([x, before, after, ...others]);
});

test('bytes are those of the tensor that a rank brings, and of all messages that it sends or gets', async () => {
  const { group, session } = makeRank(0, 2);
  const execute: typeof session.execute = (_op, _inputs, _attributes, outputs) =>
    Array.from({ length: outputs }, () => tf.zeros([3]));
  Object.assign(session, { execute });
  const x = tf.zeros([5, 2]);
  const stop = group.timeCalls?.(1);
  const received = await group.sendReceive([
    { send: x, to: 1 },
    { receiveFrom: 1, like: { shape: [3], dtype: 'float32' } },
  ]);
  const gathered = await group.allGather(x, 0, [5, 4]);
  expect(stop?.().map(({ name, bytes }) => [name, bytes])).toEqual([
    ['sendReceive', 40 + 12],
    ['allGather', 40],
  ]);
  tf.dispose([x, received, gathered]);
});

test('what has not ended on the GPU, or was not started by a group, is left out', () => {
  const native = new FakeNative();
  const times = new CallTimes(native, 5);
  times.started(0, newCall(), 8);
  times.started(2, newCall(), 16);
  native.stopTiming = () => [
    [1, 3, 4],
    [2, 5, 6],
  ];
  expect(times.stop()).toEqual([{ track: 'world', name: 'allReduce', bytes: 16, start: 5, end: 6 }]);
});
