import { cast } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { Call, describe, OPERATIONS, Recorder, type Span, sizeOf, specOf } from '../src/calls.ts';
import { type ProcessGroup, spmd } from '../src/index.ts';
import { sleep } from './sockets.ts';
import { transports, useTensorflow } from './worlds.ts';

beforeAll(useTensorflow);

/** A call that has ended. */
function ended(recorder: Recorder, operation: 'allReduce' | 'barrier', group: string, bytes: number): Call {
  const call = new Call(operation, operation, group, [1]);
  call.bytes = bytes;
  recorder.finish(call);
  return call;
}

test('calls add up by group and operation, in the order of first use', () => {
  const recorder = new Recorder();
  ended(recorder, 'barrier', 'dp', 0);
  ended(recorder, 'allReduce', 'tp', 100);
  ended(recorder, 'allReduce', 'dp', 7);
  ended(recorder, 'allReduce', 'tp', 20);
  expect(recorder.totals()).toEqual([
    { group: 'dp', operation: 'barrier', calls: 1, bytes: 0, waited: 0 },
    { group: 'tp', operation: 'allReduce', calls: 2, bytes: 120, waited: 0 },
    { group: 'dp', operation: 'allReduce', calls: 1, bytes: 7, waited: 0 },
  ]);
});

test('the trace keeps calls from when it is asked for, until it is no more', () => {
  const recorder = new Recorder();
  ended(recorder, 'barrier', 'dp', 0);
  recorder.trace = [];
  const call = ended(recorder, 'allReduce', 'tp', 1);
  expect(recorder.trace).toEqual([call]);
  expect(call.end as number).toBeGreaterThanOrEqual(call.start);
  recorder.trace = undefined;
  ended(recorder, 'allReduce', 'tp', 1);
  expect(recorder.totals().map(({ calls }) => calls)).toEqual([1, 2]);
});

test('reset forgets totals and trace, and a trace goes on', () => {
  const recorder = new Recorder();
  recorder.trace = [];
  ended(recorder, 'allReduce', 'tp', 1);
  recorder.reset();
  expect([recorder.totals(), recorder.trace]).toEqual([[], []]);
  ended(recorder, 'barrier', 'tp', 0);
  expect(recorder.trace.map(({ operation }) => operation)).toEqual(['barrier']);
  recorder.trace = undefined;
  recorder.reset();
  expect(recorder.trace).toBeUndefined();
});

test('spans are kept from when they are asked for: what was run, and when', async () => {
  const recorder = new Recorder();
  const run = (name: string) => recorder.time(name, async () => name.length);
  expect(await run('unseen')).toBe(6);
  expect(recorder.spans).toBeUndefined();
  recorder.spans = [];
  const before = new Call('barrier', 'barrier', 'tp', []).start; // one clock for calls and spans
  await recorder.time('slow', () => sleep(20));
  await run('quick');
  const { start: after } = new Call('barrier', 'barrier', 'tp', []);
  const [slow, quick] = recorder.spans as [Span, Span];
  expect([slow.name, quick.name]).toEqual(['slow', 'quick']);
  expect(slow.end - slow.start).toBeGreaterThanOrEqual(18);
  const times = [before, slow.start, slow.end, quick.start, quick.end, after];
  expect(times).toEqual([...times].sort((a, b) => a - b));
  recorder.reset();
  expect(recorder.spans).toEqual([]);
  recorder.spans = undefined;
  recorder.reset();
  expect(recorder.spans).toBeUndefined();
});

test("a GPU's traces are kept where they are asked for, and reset forgets them", () => {
  const recorder = new Recorder();
  recorder.reset();
  expect(recorder.device).toBeUndefined();
  recorder.device = [{ start: 1, spans: [] }];
  recorder.reset();
  expect(recorder.device).toEqual([]);
});

test('what throws leaves no span', async () => {
  const recorder = new Recorder();
  recorder.spans = [];
  const failing = recorder.time('failing', () => Promise.reject(new Error('no')));
  await expect(failing).rejects.toThrow('no');
  expect(recorder.spans).toEqual([]);
});

test('what ends apart is neither counted nor traced, and what comes after is', async () => {
  const recorder = new Recorder();
  recorder.trace = [];
  ended(recorder, 'allReduce', 'tp', 100);
  const result = await recorder.apart(async () => {
    ended(recorder, 'allReduce', 'tp', 7);
    await sleep(1);
    return ended(recorder, 'barrier', 'dp', 0).operation;
  });
  expect(result).toBe('barrier');
  ended(recorder, 'allReduce', 'tp', 20);
  expect(recorder.totals()).toEqual([{ group: 'tp', operation: 'allReduce', calls: 2, bytes: 120, waited: 0 }]);
  expect(recorder.trace.map(({ bytes }) => bytes)).toEqual([100, 20]);
});

test('waiting is from `wait` to the end, and nothing where the end comes first', async () => {
  const recorder = new Recorder();
  const early = new Call('barrier', 'barrier', 'tp', []);
  expect(early.isWaitedFor).toBe(false);
  early.wait();
  expect(early.isWaitedFor).toBe(true);
  await sleep(20);
  recorder.finish(early);
  expect(early.isWaitedFor).toBe(false);
  const late = new Call('barrier', 'barrier', 'tp', []);
  recorder.finish(late);
  await sleep(20);
  late.wait();
  expect(early.waited).toBeGreaterThanOrEqual(18);
  expect(early.waited).toBeLessThanOrEqual((early.end as number) - early.start);
  expect(late.waited).toBe(0);
  expect(recorder.totals()[0]?.waited).toBe(early.waited);
});

test('times are those of one clock, which all processes of the machine have', () => {
  const { start } = new Call('barrier', 'barrier', 'tp', []);
  expect(Math.abs(start - Date.now())).toBeLessThan(1000);
});

test('a tensor is described by its true dtype', () => {
  const wide = tf.zeros([2, 3]);
  const narrow = cast(wide, 'bfloat16');
  const whole = tf.scalar(1, 'int32');
  expect([wide, narrow, whole].map((x) => describe(specOf(x)))).toEqual([
    'float32 [2,3]',
    'bfloat16 [2,3]',
    'int32 []',
  ]);
  expect([[], [0], [2, 0], [2, 3, 4]].map(sizeOf)).toEqual([1, 0, 0, 24]);
  tf.dispose([wide, narrow, whole]);
});

// ## What groups leave behind

/** Each operation once, on tensors of 24 numbers. */
async function everyOperation(world: ProcessGroup): Promise<void> {
  const x = tf.zeros([4, 6]);
  const peer = 1 - world.rank;
  const results: (Tensor | Tensor[])[] = [
    await world.allReduce(x),
    await world.allGather(x, 0),
    await world.reduceScatter(x, 0),
    await world.broadcast(x, 1),
    await world.allToAll(x, 1),
    await world.sendReceive([
      { send: x, to: peer },
      { receiveFrom: peer, like: specOf(x) },
    ]),
  ];
  await world.barrier();
  await world.split(0, world.rank, 'part');
  tf.dispose([x, results]);
}

test.each(Object.entries(transports))('%s: each operation is counted and traced', async (_, run) => {
  const records = await run(2, async (world) => {
    world.recorder.trace = [];
    await everyOperation(world);
    return world.recorder;
  });
  for (const [rank, recorder] of records.entries()) {
    const totals = recorder.totals();
    expect(totals.map(({ operation }) => operation)).toEqual([...OPERATIONS]);
    expect(totals.map(({ calls }) => calls)).toEqual(Array(8).fill(1));
    // All-reduce: 48 bytes of the other's part and 48 of the own sum; tcp exchanges 96 of so small a tensor at once.
    expect(totals.map(({ bytes }) => bytes)).toEqual([96, 96, 48, rank === 1 ? 96 : 0, 48, 96, 0, 8]);
    expect(recorder.trace?.map(({ operation }) => operation)).toEqual([...OPERATIONS]);
    for (const call of recorder.trace ?? []) expect(call).toMatchObject({ group: 'world', peers: [1 - rank] });
    expect(recorder.trace?.[0]?.text).toBe('allReduce(sum) of float32 [4,6]');
  }
});

test.each(Object.entries(transports))('%s: computing hides a call, awaiting it at once does not', async (_, run) => {
  const waits = await run(2, async (world) => {
    const x = tf.zeros([4]);
    const wait = async (milliseconds: number) => {
      world.recorder.reset();
      const pending = world.allReduce(x);
      await sleep(milliseconds);
      const sum = await pending;
      sum.dispose();
      return world.recorder.totals()[0]?.waited ?? Number.NaN;
    };
    const hidden = await wait(60); // both compute
    await world.barrier();
    if (world.rank === 1) await sleep(60); // rank 0 is there first
    const open = await wait(0);
    x.dispose();
    return { hidden, open };
  });
  for (const { hidden } of waits) expect(hidden).toBe(0);
  expect(waits[0]?.open).toBeGreaterThan(40);
  expect(waits[1]?.open).toBeLessThan(40);
});

test.each(Object.entries(transports))(
  '%s: calls of all groups are counted apart from those of training',
  async (_, run) => {
    const counted = await run(2, async (world) => {
      const pair = await world.split(0, world.rank, 'pair');
      world.recorder.reset();
      await pair.recorder.apart(async () => {
        await world.barrier();
        await pair.barrier();
      });
      await pair.barrier();
      return world.recorder.totals().map(({ group, calls }) => [group, calls]);
    });
    expect(counted).toEqual([[['pair', 1]], [['pair', 1]]]);
  },
);

test('a call that fails is counted too', async () => {
  const recorders: Recorder[] = [];
  const run = spmd(2, async (world) => {
    recorders[world.rank] = world.recorder;
    if (world.rank === 0) await world.barrier();
    else throw new Error('no');
  });
  await expectNoLeak(async () => await expect(run).rejects.toThrow('no'));
  expect(recorders[0]?.totals()).toMatchObject([{ operation: 'barrier', calls: 1 }]);
});

test.each(Object.entries(transports))('%s: groups of one count nothing and give what they got', async (_, run) => {
  await run(1, async (world) => {
    await expectNoLeak(async () => {
      const x = tf.tensor1d([1, 2]);
      const alone = await world.split(0, 0, 'alone');
      for (const group of [world, alone]) {
        const results = [
          await group.allReduce(x, 'mean'),
          await group.allGather(x, 0),
          await group.reduceScatter(x, 0),
          await group.broadcast(x, 0),
          await group.allToAll(x, 0),
        ];
        expect(await Promise.all(results.map((y) => y.array()))).toEqual(Array(5).fill([1, 2]));
        expect(await group.sendReceive([])).toEqual([]);
        await group.barrier();
        tf.dispose(results);
      }
      expect(world.recorder.totals()).toEqual([]);
      x.dispose();
    });
  });
});
