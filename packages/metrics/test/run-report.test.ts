import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createMesh, spmd } from '@fourfold/process-group';
import { openBackend, UserError } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { spanOf } from '../src/chrome-trace.ts';
import { type RankRun, rankRun, runReport } from '../src/run-report.ts';
import { trafficReport } from '../src/traffic-report.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-report-'));
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(() => openBackend({ device: 'wasm' }));

/** Milliseconds since 1970, as a run has them. */
const EPOCH = 1_700_000_000_000;

/** A forward takes 10 ms, a backward 20, whatever the tick. */
const cell = (kind: 'forward' | 'backward', micro: number, tick: number, start: number) => {
  const begin = EPOCH + start;
  return { kind, micro, chunk: 0, tick, start: begin, end: begin + (kind === 'forward' ? 10 : 20) };
};

/**
 * Two stages, two micro-batches, all forward and all backward: six ticks, of which each rank fills four.
 *
 *     milliseconds   0     10    20    30          50          70          90
 *     pp0            |  1  |  2  |                 |     a     |     b     |       60 of 90
 *     pp1                  |  1  |  2  |     a     |     b     |                   60 of 90
 *
 * The second stage may be `quicker` by some milliseconds in each of its cells.
 */
const ranOf = (pp: number, quicker = 0) =>
  pp === 0
    ? [cell('forward', 0, 0, 0), cell('forward', 1, 1, 10), cell('backward', 0, 4, 50), cell('backward', 1, 5, 70)]
    : [
        cell('forward', 0, 1, 10),
        cell('forward', 1, 2, 20),
        cell('backward', 0, 3, 30),
        cell('backward', 1, 4, 50),
      ].map((one) => ({ ...one, end: one.end - quicker }));

/** A rank of dp2 x pp2, which has sent one message a step. */
const runOf = (rank: number, quicker = 0): RankRun => {
  const [dp, pp] = [rank >> 1, rank % 2];
  return {
    rank,
    label: `dp${dp} pp${pp}`,
    pipeline: `dp${dp} cp0 tp0`,
    totals: [{ group: 'pp', operation: 'sendReceive', calls: 6, bytes: 6144, waited: 1 + rank }],
    predicted: { pp: 6144 },
    peakBytes: 312_400_000,
    ran: ranOf(pp, quicker),
    calls: [
      {
        operation: 'sendReceive',
        text: 'sendReceive(float32 [4,64] to rank 1)',
        group: 'pp',
        peers: [rank ^ 1],
        start: EPOCH + 10,
        end: EPOCH + 12,
        bytes: 1024,
        waited: 0.5,
      },
    ],
    spans: ranOf(pp, quicker).map(spanOf),
  };
};
const runs = [0, 1, 2, 3].map((rank) => runOf(rank));
const options = { title: 'nano: afab', steps: 3, oneProcess: true, bubble: 1 / 3 };

// ## The text

test('the report is the table of traffic and memory, and below it the bubble', () => {
  const text = runReport(runs, options);
  const table = trafficReport(runs, { steps: 3, sharedMemory: true });
  expect(table.split('\n').slice(2)).toEqual([
    '  pp     all    sendReceive      6  6.14 KB  2.05 KB  = 6.14 KB  1.0-4.0 ms',
    'Peak memory  312 MB, of one process for all 4 ranks',
  ]);
  expect(text).toBe(`${table}\nBubble       formula 33.3%, measured 33.3% (all)`);
});

test('coroutines compute by turns, so their bubble is of ticks; that of processes is of time', () => {
  const some = runs.map(({ rank }) => runOf(rank, rank === 3 ? 6 : 0)); // the last rank works 4 x 6 ms less
  const lastLine = (oneProcess: boolean) =>
    runReport(some, { ...options, oneProcess })
      .split('\n')
      .at(-1);
  expect(lastLine(true)).toBe('Bubble       formula 33.3%, measured 33.3% (all)');
  expect(lastLine(false)).toBe('Bubble       formula 33.3%, measured 33.3% (0-2), 60.0% (dp1 pp1)');
});

test("a pipeline's idle time is of its own, however long another takes", () => {
  const slowly = (time: number) => EPOCH + 2 * (time - EPOCH);
  const slow = (rank: number) => ({
    ...runOf(rank),
    ran: ranOf(rank % 2).map((one) => ({ ...one, start: slowly(one.start), end: slowly(one.end) })),
  });
  const text = runReport([runOf(0), runOf(1), slow(2), slow(3)], { ...options, oneProcess: false });
  expect(text.split('\n').at(-1)).toBe('Bubble       formula 33.3%, measured 33.3% (all)');
});

test('without a pipeline there is no bubble', () => {
  const alone = runs.map((run) => ({ ...run, pipeline: `dp${run.rank} cp0 tp0` }));
  expect(runReport(alone, options)).toBe(trafficReport(alone, { steps: 3, sharedMemory: true }));
});

test('without a trace nothing is written', () => {
  runReport(runs, options);
  expect(readdirSync(folder)).toEqual([]);
});

// ## The files

test.each([
  ['run.json', 'run.svg'],
  ['run', 'run.svg'],
  ['a.json.b.json', 'a.json.b.svg'],
  ['drawn.svg', 'drawn.svg.svg'],
])('--trace %s writes the trace there and the schedule to %s', (name, drawn) => {
  const [trace, picture] = [join(folder, name), join(folder, drawn)];
  const text = runReport(runs, { ...options, trace });
  expect(text.split('\n').at(-1)).toBe(
    `Trace of the last steps in ${trace} (open it with https://ui.perfetto.dev), schedule in ${picture}`,
  );
  const { traceEvents } = JSON.parse(readFileSync(trace, 'utf8')) as { traceEvents: { ph: string; name: string }[] };
  const bars = traceEvents.filter(({ ph }) => ph === 'X').map((event) => event.name);
  expect(bars.filter((bar) => bar === 'forward of micro-batch 2')).toHaveLength(4);
  expect(bars.filter((bar) => bar.startsWith('sendReceive'))).toHaveLength(4);
  expect(readFileSync(picture, 'utf8')).toMatch(/^<svg[\s\S]*nano: afab[\s\S]*<\/svg>\n$/);
});

/** A step of a GPU: 6 ms of computing and 5 of communication, of which 4 are exposed; or `share` times as long. */
const traceOf = (start: number, share = 1) => ({
  start: EPOCH + start,
  spans: [
    { track: 'compute', name: 'FourfoldProduct', start: 0, end: 6 * share },
    { track: 'dpCp', name: 'allReduce', bytes: 1000, start: 5 * share, end: 10 * share },
  ],
});

test('on GPUs the trace has what they did, a picture is of their last step, and a line says what is exposed', () => {
  const trace = join(folder, 'gpu.json');
  const some = runs.map((run) => ({ ...run, device: [traceOf(0, 2), traceOf(100)] }));
  const lines = runReport(some, { ...options, oneProcess: false, trace }).split('\n');
  expect(lines.slice(-2)).toEqual([
    'GPU time     15.0 ms a step, compute 9.0 ms (60.0%), communication 7.5 ms (50.0%), exposed 6.0 ms (40.0%)',
    `Trace of the last steps in ${trace} (open it with https://ui.perfetto.dev), ` +
      `schedule in ${join(folder, 'gpu.svg')}, GPUs in ${join(folder, 'gpu.gpu.svg')}`,
  ]);
  const { traceEvents } = JSON.parse(readFileSync(trace, 'utf8')) as { traceEvents: { ph: string; name: string }[] };
  const bars = traceEvents.filter(({ ph }) => ph === 'X').map((event) => event.name);
  expect(bars.filter((bar) => bar === 'allReduce 1.00 KB')).toHaveLength(8); // two steps of four ranks
  const picture = readFileSync(join(folder, 'gpu.gpu.svg'), 'utf8');
  expect(picture).toContain('nano: afab: GPUs in the last step');
  expect([...picture.matchAll(/>dp\d pp\d</g)]).toHaveLength(4);
  expect([...picture.matchAll(/<title>/g)]).toHaveLength(8);
});

test('a rank without a label has its number, and the picture has eight ranks at most', () => {
  const trace = join(folder, 'many.json');
  const some = Array.from({ length: 9 }, (_, rank) => ({ ...runOf(0), rank, label: '', device: [traceOf(0)] }));
  runReport(some, { ...options, trace });
  const picture = readFileSync(join(folder, 'many.gpu.svg'), 'utf8');
  expect([...picture.matchAll(/>rank (\d)</g)].map(([, rank]) => Number(rank))).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

/** The schedule's picture of some ranks' runs, as lines. */
function pictureOf(some: readonly RankRun[], oneProcess: boolean): string {
  const trace = join(folder, 'drawn.json');
  runReport(some, { ...options, oneProcess, trace });
  return readFileSync(join(folder, 'drawn.svg'), 'utf8');
}

test('the picture is of the first pipeline alone, and a rank of it a row', () => {
  const picture = pictureOf(runs, true);
  expect([...picture.matchAll(/pp\d/g)].map(String)).toEqual(['pp0', 'pp1']);
  expect(pictureOf(runs.slice(0, 2), true)).toBe(picture);
});

test('the picture shows what its bubble counts: ticks, or milliseconds from the beginning', () => {
  const half = runs.map(({ rank }) => runOf(rank, rank === 1 ? 6 : 0));
  expect(pictureOf(half, true)).toBe(pictureOf(runs, true));
  expect(pictureOf(runs, true)).toContain('ticks');
  expect(pictureOf(runs, true)).toContain('idle: 33.3%');
  expect(pictureOf(half, false)).toContain('milliseconds');
  expect(pictureOf(half, false)).toContain(`idle: ${(((30 + 54) / 180) * 100).toFixed(1)}%`);
  expect(pictureOf(half, false)).not.toContain(String(EPOCH).slice(0, 6));
});

test('a file that cannot be written is named in a sentence', () => {
  const trace = join(folder, 'no', 'such.json');
  const writing = () => runReport(runs, { ...options, trace });
  expect(writing).toThrow(UserError);
  expect(writing).toThrow(`${trace} can't be written: `);
});

// ## What a rank tells

const layout = { dp: 1, pp: 2, cp: 1, tp: 2 };

test('a rank tells its place, its pipeline and what its recorder has, and JSON carries it', async () => {
  const told = await spmd(4, async (world) => {
    const mesh = await createMesh(world, layout);
    const { recorder } = world;
    recorder.reset();
    [recorder.trace, recorder.spans, recorder.device] = [[], [], [traceOf(0)]];
    const x = tf.scalar(1);
    const sum = await recorder.time('adding', () => mesh.tp.allReduce(x));
    tf.dispose([x, sum]);
    return rankRun(mesh, { predicted: { tp: 4 }, peakBytes: 100, ran: ranOf(mesh.pp.rank) });
  });
  expect(JSON.parse(JSON.stringify(told))).toEqual(told);
  expect(told.map(({ rank, label, pipeline }) => [rank, label, pipeline])).toEqual([
    [0, 'pp0 tp0', 'dp0 cp0 tp0'],
    [1, 'pp0 tp1', 'dp0 cp0 tp1'],
    [2, 'pp1 tp0', 'dp0 cp0 tp0'],
    [3, 'pp1 tp1', 'dp0 cp0 tp1'],
  ]);
  for (const { rank, totals, calls, spans, device, ...measured } of told) {
    expect(device).toEqual([traceOf(0)]);
    expect(totals).toMatchObject([{ group: 'tp', operation: 'allReduce', calls: 1, bytes: 4 }]);
    expect(calls).toMatchObject([{ text: 'allReduce(sum) of float32 []', group: 'tp', peers: [rank ^ 1] }]);
    expect(spans.map(({ name }) => name)).toEqual(['adding']);
    expect(measured).toMatchObject({ predicted: { tp: 4 }, peakBytes: 100, ran: ranOf(rank >> 1) });
  }
});

test('a rank that kept no trace tells of no calls, and what it counts later changes nothing that it told', async () => {
  await spmd(4, async (world) => {
    const mesh = await createMesh(world, layout);
    const told = rankRun(mesh, { predicted: {}, peakBytes: 0, ran: [] });
    expect([told.calls, told.spans, told.device]).toEqual([[], [], []]);
    const before = structuredClone(told.totals);
    const again = await createMesh(world, layout);
    expect(told.totals).toEqual(before);
    expect(rankRun(again, { predicted: {}, peakBytes: 0, ran: [] }).totals).not.toEqual(before);
  });
});
