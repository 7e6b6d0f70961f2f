import { Call, spmd } from '@fourfold/process-group';
import { openBackend } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chromeTrace, plainCall, spanOf, type TracedCall, type TracedRank } from '../src/chrome-trace.ts';

interface Event {
  ph: 'M' | 'X';
  name: string;
  pid: number;
  tid?: number;
  ts: number;
  dur: number;
  args: Record<string, unknown>;
}

const eventsOf = (ranks: readonly TracedRank[]): Event[] => {
  const { displayTimeUnit, traceEvents } = JSON.parse(chromeTrace(ranks));
  expect(displayTimeUnit).toBe('ms');
  return traceEvents;
};

const lanesOf = (events: readonly Event[], rank: number): unknown[] =>
  events.filter(({ name, pid }) => name === 'thread_name' && pid === rank).map(({ args }) => args['name']);

/** The lane's bars as [name, start, length] in microseconds. */
function barsOf(events: readonly Event[], rank: number, lane: string): unknown[] {
  const thread = events.find(({ name, pid, args }) => name === 'thread_name' && pid === rank && args['name'] === lane);
  const bars = events.filter(({ ph, tid }) => ph === 'X' && tid === thread?.tid);
  return bars.map(({ name, ts, dur }) => [name, ts, dur]);
}

const call = (group: string, start: number, end: number, waited = 0): TracedCall => ({
  operation: 'allReduce',
  text: 'allReduce(sum) of float32 [2]',
  group,
  peers: [1],
  start,
  end,
  bytes: 8,
  waited,
});

const epoch = 1_750_000_000_000; // milliseconds since 1970, as recorders have them

test('a process for each rank, with a lane for computing and one for each group in the order of first use', () => {
  const calls = [call('dp', epoch + 9, epoch + 10), call('tp', epoch, epoch + 1)]; // kept in the order of their ends
  const spans = [{ name: 'forward', start: epoch, end: epoch + 5 }];
  const events = eventsOf([
    { rank: 0, label: 'dp0 tp0', calls, spans },
    { rank: 1, label: '', calls: [], spans },
  ]);
  const processes = events.filter(({ name }) => name.startsWith('process'));
  expect(processes).toEqual([
    { ph: 'M', name: 'process_name', pid: 0, args: { name: 'rank 0 (dp0 tp0)' } },
    { ph: 'M', name: 'process_sort_index', pid: 0, args: { sort_index: 0 } },
    { ph: 'M', name: 'process_name', pid: 1, args: { name: 'rank 1' } },
    { ph: 'M', name: 'process_sort_index', pid: 1, args: { sort_index: 1 } },
  ]);
  expect([lanesOf(events, 0), lanesOf(events, 1)]).toEqual([['compute', 'tp', 'dp'], ['compute']]);
  const order = events.filter(({ name }) => name === 'thread_sort_index');
  expect(order.map(({ args }) => args['sort_index'])).toEqual([0, 1, 2, 0]);
  const threads = order.map(({ tid }) => tid);
  expect(new Set([0, 1, ...threads]).size).toBe(6); // none has the number of another or of a process
});

test('times are microseconds from the first event; what was waited for is the end of its call', () => {
  const calls = [call('tp', epoch + 1, epoch + 3.5, 0.5), call('tp', epoch + 4, epoch + 5)];
  const spans = [
    { name: 'layer 1', start: epoch, end: epoch + 2 }, // recorded at its end, so before what it is a part of
    { name: 'backward', start: epoch, end: epoch + 8 },
  ];
  const events = eventsOf([{ rank: 3, label: 'tp3', calls, spans }]);
  expect(barsOf(events, 3, 'tp')).toEqual([
    ['allReduce', 1000, 2500],
    ['waiting', 3000, 500],
    ['allReduce', 4000, 1000],
  ]);
  expect(barsOf(events, 3, 'compute')).toEqual([
    ['backward', 0, 8000],
    ['layer 1', 0, 2000],
  ]);
  expect(events.find(({ name }) => name === 'allReduce')?.args).toEqual({
    call: 'allReduce(sum) of float32 [2]',
    'bytes sent': 8,
    'waited (ms)': 0.5,
    'with ranks': [1],
  });
});

test('calls that overlap without nesting take a lane more, and nothing lies in what was waited for', () => {
  const calls = [call('tp', 0, 10), call('tp', 5, 15), call('tp', 10, 20, 4), call('tp', 11, 15), call('tp', 17, 19)];
  const events = eventsOf([{ rank: 0, label: '', calls, spans: [] }]);
  expect(lanesOf(events, 0)).toEqual(['tp', 'tp (2)']);
  expect(barsOf(events, 0, 'tp')).toEqual([
    ['allReduce', 0, 10_000],
    ['allReduce', 10_000, 10_000],
    ['waiting', 16_000, 4000],
    ['allReduce', 11_000, 4000],
  ]);
  expect(barsOf(events, 0, 'tp (2)')).toEqual([
    ['allReduce', 5000, 10_000],
    ['allReduce', 17_000, 2000],
  ]);
});

test('on each lane any two events are one inside the other or disjoint, and none is lost', () => {
  const time = fc.integer({ min: 0, max: 60 }).map((third) => third / 3000); // up to 20 us: many fall together
  const interval = fc.tuple(time, time, fc.constantFrom(0, 0.3, 1));
  const group = fc.constantFrom('tp', 'dp');
  fc.assert(
    fc.property(fc.array(fc.tuple(group, interval)), fc.array(interval), (called, computed) => {
      const calls = called.map(([name, [start, length, share]]) =>
        call(name, epoch + start, epoch + start + length, share * length),
      );
      const spans = computed.map(([start, length]) => ({
        name: 'span',
        start: epoch + start,
        end: epoch + start + length,
      }));
      const bars = eventsOf([{ rank: 0, label: '', calls, spans }]).filter(({ ph }) => ph === 'X');
      expect(bars.filter(({ name }) => name !== 'waiting').length).toBe(calls.length + spans.length);
      for (const [i, a] of bars.entries())
        for (const b of bars.slice(i + 1)) if (a.tid === b.tid) expect(crosses(a, b) || crosses(b, a)).toBe(false);
    }),
  );
});

/** b begins inside a and ends after it. */
const crosses = (a: Event, b: Event): boolean => a.ts < b.ts && b.ts < a.ts + a.dur && b.ts + b.dur > a.ts + a.dur;

// ## What GPUs did

test("a GPU's computing and its groups are lanes of its rank, below what the host did, on the same clock", () => {
  const spans = [{ name: 'forward', start: epoch + 1, end: epoch + 3 }];
  const step = (start: number) => ({
    start: epoch + start,
    spans: [
      { track: 'compute', name: 'FourfoldProduct', start: 0.5, end: 1.25 },
      { track: 'compute', name: 'FourfoldSwiglu', start: 1.25, end: 2 },
      { track: 'dp', name: 'allReduce', bytes: 26_214_400, start: 1, end: 1.5 },
    ],
  });
  const device = [step(1), step(11)];
  const events = eventsOf([
    { rank: 0, label: 'dp0', calls: [call('dp', epoch + 2, epoch + 3)], spans, device },
    { rank: 1, label: 'dp1', calls: [], spans, device: [step(0)] },
  ]);
  expect(lanesOf(events, 0)).toEqual(['compute', 'dp', 'GPU compute', 'GPU dp']);
  expect(lanesOf(events, 1)).toEqual(['compute', 'GPU compute', 'GPU dp']);
  expect(barsOf(events, 0, 'GPU compute')).toEqual([
    ['FourfoldProduct', 1000, 750], // from the trace's first event, which is the other rank's, at 0.5 ms
    ['FourfoldSwiglu', 1750, 750],
    ['FourfoldProduct', 11_000, 750],
    ['FourfoldSwiglu', 11_750, 750],
  ]);
  expect(barsOf(events, 0, 'GPU dp')).toEqual([
    ['allReduce 26.2 MB', 1500, 500],
    ['allReduce 26.2 MB', 11_500, 500],
  ]);
  expect(barsOf(events, 0, 'compute')).toEqual([['forward', 500, 2000]]);
});

test('a trace without GPUs is the same whether none were asked or none were there', () => {
  const rank = { rank: 0, label: '', calls: [call('tp', epoch, epoch + 1)], spans: [] };
  expect(chromeTrace([{ ...rank, device: [] }])).toBe(chromeTrace([rank]));
});

test('a real run; and its copy through JSON gives the same file', async () => {
  await openBackend({ device: 'cpu' });
  const traced = await spmd(3, async (world) => {
    const { recorder } = world;
    recorder.trace = [];
    recorder.spans = [];
    const x = tf.scalar(world.rank);
    const [sum, all] = await recorder.time('work', () => Promise.all([world.allReduce(x), world.broadcast(x, 0)]));
    await world.barrier();
    tf.dispose([x, sum, all]);
    return { rank: world.rank, label: '', calls: recorder.trace, spans: recorder.spans };
  });
  const events = eventsOf(traced);
  expect(events.filter(({ ph, name }) => ph === 'X' && name !== 'waiting').length).toBe(3 * (3 + 1));
  expect(Math.min(...events.filter(({ ph }) => ph === 'X').map(({ ts }) => ts))).toBe(0);
  const copies = traced.map((rank) => ({ ...rank, calls: rank.calls.map(plainCall) }));
  expect(chromeTrace(JSON.parse(JSON.stringify(copies)))).toBe(chromeTrace(traced));
});

test('a call that has not ended leaves no mark, and no events are a valid file', () => {
  const running = new Call('barrier', 'barrier', 'tp', [1]);
  const events = eventsOf([{ rank: 0, label: '', calls: [running], spans: [] }]);
  expect(events.map(({ name }) => name)).toEqual(['process_name', 'process_sort_index']);
  expect(eventsOf([])).toEqual([]);
});

test('a span is named as a person counts, from one; a first chunk goes without saying', () => {
  const action = { kind: 'backward', micro: 2, start: 5, end: 7 } as const;
  expect(spanOf({ ...action, chunk: 0 })).toEqual({ name: 'backward of micro-batch 3', start: 5, end: 7 });
  expect(spanOf({ ...action, chunk: 1 }).name).toBe('backward of micro-batch 3, chunk 2');
});
