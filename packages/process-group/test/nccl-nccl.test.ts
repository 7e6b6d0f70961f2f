/** The transport's own work, against imitations: the way to axis 0 and back, the order on streams, failures, splits. */
import { openBackend } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { spmd } from '../src/local/local.ts';
import { NcclTransport, Session, within } from '../src/nccl/nccl.ts';
import type { ProcessGroup } from '../src/process-group.ts';
import { FakeNative, makeRank, newCall, peersOf } from './nccl-fake.ts';

beforeAll(async () => {
  await openBackend({ device: 'cpu', threads: 1 });
});

const SIZE = 3;
const input = (): Tensor => tf.tidy(() => tf.reshape(tf.range(0, 6 * 3 * 9), [6, 3, 9]));

/** What a collective should give rank `rank`, from what all ranks bring. */
type Definition = (xs: Tensor[], axis: number, rank: number) => Tensor;
const total = (xs: Tensor[]): Tensor => xs.reduce((a, b) => tf.add(a, b));
const CASES: [name: string, run: (group: ProcessGroup, x: Tensor, axis: number) => Promise<Tensor>, Definition][] = [
  ['allReduce', (g, x) => g.allReduce(x), total],
  ['mean', (g, x) => g.allReduce(x, 'mean'), (xs) => tf.div(total(xs), SIZE)],
  ['max', (g, x) => g.allReduce(x, 'max'), (xs) => xs.reduce((a, b) => tf.maximum(a, b))],
  ['allGather', (g, x, axis) => g.allGather(x, axis), (xs, axis) => tf.concat(xs, axis)],
  ['reduceScatter', (g, x, axis) => g.reduceScatter(x, axis), (xs, axis, r) => part(total(xs), axis, r)],
  ['broadcast', (g, x) => g.broadcast(x, 2), (xs) => xs[2] as Tensor],
  [
    'allToAll',
    (g, x, axis) => g.allToAll(x, axis),
    (xs, axis, r) =>
      tf.concat(
        xs.map((x) => part(x, axis, r)),
        axis,
      ),
  ],
];
const part = (x: Tensor, axis: number, rank: number): Tensor => tf.split(x, SIZE, axis)[rank] as Tensor;

for (const [name, run, definition] of CASES)
  test(`${name} gives every rank what it should along every axis, and leaves no tensor`, async () => {
    for (const axis of [0, 1, 2])
      for (const rank of [0, 1, 2]) {
        const { group } = makeRank(rank, SIZE);
        const before = tf.memory().numTensors;
        const x = input();
        const y = await run(group, x, axis);
        const expected = tf.tidy(() => definition(peersOf(x, rank, SIZE), axis, rank));
        expect(y.shape).toEqual(expected.shape);
        expect(y.dataSync()).toEqual(expected.dataSync());
        tf.dispose([x, y, expected]);
        expect(tf.memory().numTensors).toBe(before);
      }
  });

test('parts of unequal length are gathered along either axis', async () => {
  for (const axis of [0, 1]) {
    const { group, ran } = makeRank(1, SIZE);
    const before = tf.memory().numTensors;
    const x = tf.tensor2d([
      [5, 5],
      [5, 5],
    ]); // peers bring 4s and 6s
    const y = await group.allGather(x, axis, [1, 2, 3]);
    const row = [4, 5, 5, 6, 6, 6];
    expect(y.arraySync()).toEqual(axis === 1 ? [row, row] : row.map((value) => [value, value]));
    expect(ran.map(({ op }) => op)).toEqual(['FourfoldNcclAllGatherUneven']);
    tf.dispose([x, y]);
    expect(tf.memory().numTensors).toBe(before);
  }
});

test('an op is enqueued at once, and the compute stream waits for it when it is awaited', async () => {
  const { group, native } = makeRank(0, SIZE);
  const x = input();
  const first = group.allReduce(x);
  const second = group.allGather(x, 1);
  const started = [
    'FourfoldNcclAllReduce',
    'ticket 0 allReduce(sum) of float32 [6,3,9] in group world',
    'FourfoldNcclAllGather',
    'ticket 0 allGather(axis 1) of float32 [6,3,9] in group world',
  ];
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(native.log).toEqual(started);
  const gathered = await second; // in another order than they were started
  expect(native.log).toEqual([...started, 'wait 0 1']);
  const sum = await first;
  await first;
  expect(native.log).toEqual([...started, 'wait 0 1', 'wait 0 0']); // once for each
  tf.dispose([x, gathered, sum]);
});

test('a collective that a call awaited already needs is not left lying', async () => {
  const { transport, native } = makeRank(0, 2);
  const call = newCall();
  const x = tf.scalar(1);
  call.wait();
  const y = await transport.allReduce(x, 'sum', call);
  expect(native.log.at(-1)).toBe('wait 0 0');
  tf.dispose([x, y]);
});

test('along axis 0 nothing is copied: the op gets x itself and its output is the result', async () => {
  const { group } = makeRank(0, SIZE);
  const x = input();
  for (const run of [group.allGather(x, 0), group.reduceScatter(x, 0), group.allToAll(x, 0)]) {
    const before = tf.memory().numDataBuffers;
    const y = await run;
    expect(tf.memory().numDataBuffers).toBe(before);
    y.dispose();
  }
  x.dispose();
});

test('attributes name the communicator, the dtype, the reduction and the root', async () => {
  const { group, ran } = makeRank(0, 2);
  const x = tf.tensor1d([1, 2], 'int32');
  tf.dispose([await group.allReduce(x, 'max'), await group.broadcast(x, 1)]);
  expect(ran.map(({ attributes }) => attributes)).toEqual([
    { T: 3, reduction: 2, comm: 0 }, // TensorFlow's number for int32
    { T: 3, root: 1, comm: 0 },
  ]);
  x.dispose();
});

test('bytes are counted as for every transport', async () => {
  const { group, recorder } = makeRank(0, SIZE);
  const x = input(); // 648 bytes
  tf.dispose([await group.allReduce(x), await group.allGather(x, 1), await group.reduceScatter(x, 2), x]);
  expect(recorder.totals().map(({ operation, bytes }) => [operation, bytes])).toEqual([
    ['allReduce', 864], // there and back: 2 · 2/3
    ['allGather', 1296],
    ['reduceScatter', 432],
  ]);
});

test('after a failure the first error is told, the process has 3 s to end, and nothing more is started', async () => {
  const { group, session, native, failures } = makeRank(0, 2);
  session.fail(new Error('rank 0: allReduce in group dp: not ended within 5 s'));
  session.fail(new Error('rank 0: something else'));
  expect(failures.map(({ message }) => message)).toEqual(['rank 0: allReduce in group dp: not ended within 5 s']);
  expect(native.log).toEqual(['end within 3']);
  const x = tf.scalar(1);
  await expect(group.allReduce(x)).rejects.toThrow('not ended within 5 s');
  x.dispose();
});

test('a failed group is aborted when it is closed, a sound one is ended in order', async () => {
  for (const failed of [false, true]) {
    const native = new FakeNative();
    await spmd(1, async (control) => {
      const session = new Session(native, 5, () => {});
      if (failed) session.fail(new Error('gone'));
      await new NcclTransport(session, 4, control).close();
    });
    expect(native.log.at(-1)).toBe(`close 4 ${failed}`);
  }
});

test('a split makes a communicator of each part, in the order of its members, and none for a rank alone', async () => {
  const natives = [0, 1, 2].map((gpu) => new FakeNative(gpu));
  await spmd(3, async (control) => {
    const session = new Session(natives[control.rank] as FakeNative, 5, () => {});
    const transport = new NcclTransport(session, 0, control);
    const members = control.rank === 1 ? [1] : [2, 0];
    const made = await transport.subset(members);
    await made.barrier(); // the part's own control group works: a deadlock would be told
  });
  expect(natives.map(({ log }) => log)).toEqual([['split 0 2 1'], ['split 0 -1 0'], ['split 0 2 0']]);
});

test('a collective on a group that is being split is refused', async () => {
  await spmd(2, async (control) => {
    const own = new NcclTransport(new Session(new FakeNative(), 5, () => {}), 0, control);
    const splitting = own.subset([0, 1]);
    const x = tf.scalar(1);
    await expect(own.allReduce(x, 'sum', newCall())).rejects.toThrow('group world is being split: await that first');
    await splitting;
    x.dispose();
  });
});

test('what takes too long is an error that says what and how long', async () => {
  await expect(within(new Promise(() => {}), 0.01, 'joining')).rejects.toThrow(
    'joining did not end within 0.01 s: a rank is missing',
  );
  expect(await within(Promise.resolve(3), 1, 'joining')).toBe(3);
});
