import type { DeviceSpan } from '@fourfold/process-group';
import { expect, test } from 'vitest';
import { callName, deviceTimeline, spansOf } from '../src/device-timeline.ts';

const EPOCH = 1_750_000_000_000;
const op = (start: number, end: number): DeviceSpan => ({ track: 'compute', name: 'FourfoldProduct', start, end });
const call = (start: number, end: number): DeviceSpan => ({
  track: 'dpCp',
  name: 'allReduce',
  bytes: 26_214_400,
  start,
  end,
});
/** Bars over 826 pixels from 110, as [what a browser shows, [x, width, y, opacity] of each rectangle]. */
const barsOf = (svg: string): [words: string, boxes: number[][]][] =>
  [...svg.matchAll(/<g><title>(.*?)<\/title>(.*?)<\/g>/g)].map(([, words = '', shapes = '']) => [
    words,
    [...shapes.matchAll(/x="(.*?)" width="(.*?)" y="(.*?)".*?opacity="(.*?)"/g)].map((one) => one.slice(1).map(Number)),
  ]);

test('a call has its name and size, an op its name', () => {
  expect([callName(call(0, 1)), callName(op(0, 1))]).toEqual(['allReduce 26.2 MB', 'FourfoldProduct']);
});

test("a trace's spans are in the clock of all ranks", () => {
  expect(spansOf({ start: EPOCH, spans: [op(1, 2.5)] })).toEqual([op(EPOCH + 1, EPOCH + 2.5)]);
});

test('computing is strong, and a call pale where computing hides it', () => {
  const trace = { start: EPOCH, spans: [op(0, 400), op(600, 826), call(200, 700)] };
  const svg = deviceTimeline({ title: 'a <step>', ranks: [{ label: 'dp0', trace }] });
  expect(barsOf(svg)).toEqual([
    ['compute: 400.00 ms', [[110, 400, 96, 0.35], [110, 400, 96, 1]]],
    ['compute: 226.00 ms', [[710, 226, 96, 0.35], [710, 226, 96, 1]]],
    ['dpCp: allReduce 26.2 MB, 500.00 ms, of which 200.00 ms exposed', [[310, 500, 105, 0.35], [510, 200, 105, 1]]],
  ]); // biome-ignore format: rectangles
  for (const text of [
    'a &lt;step&gt;',
    '>dp0</text>',
    '>compute</text>',
    '>dpCp</text>',
    '>pale: hidden by computing<',
  ])
    expect(svg).toContain(text);
  expect(svg).not.toContain(String(EPOCH).slice(0, 6));
});

test('ops less than half a pixel apart are one bar, but what they leave exposed is exact', () => {
  const trace = { start: EPOCH, spans: [op(0, 400), op(400.25, 500), op(501, 826), call(300, 826)] };
  const bars = barsOf(deviceTimeline({ title: '', ranks: [{ label: '', trace }] }));
  expect(bars.map(([words]) => words)).toEqual([
    'compute: 500.00 ms',
    'compute: 325.00 ms',
    'dpCp: allReduce 26.2 MB, 526.00 ms, of which 1.25 ms exposed',
  ]);
  expect(bars[2]?.[1].map(([x, width]) => [x, width])).toEqual([
    [410, 526],
    [610, 1], // a gap that can be seen
  ]);
});

test('ranks share the axis, and each has a lane with every group', () => {
  const ranks = [
    { label: 'dp0 tp0', trace: { start: EPOCH, spans: [op(0, 10), call(5, 10)] } },
    { label: 'dp0 tp1', trace: { start: EPOCH + 10, spans: [op(0, 10), { ...call(0, 10), track: 'tp' }] } },
  ];
  const svg = deviceTimeline({ title: 'two', ranks });
  const tops = barsOf(svg).map(([words, [[x, , y] = [] as number[]]]) => [words.split(':')[0], x, y]);
  expect(tops).toEqual([
    ['compute', 110, 96],
    ['dpCp', 316.5, 105],
    ['compute', 523, 131], // a lane of 8 and three tracks of 9 pixels
    ['tp', 523, 149],
  ]);
});

test('no spans, no bars', () => {
  const svg = deviceTimeline({ title: 'quiet', ranks: [{ label: 'rank 0', trace: { start: EPOCH, spans: [] } }] });
  expect(barsOf(svg)).toEqual([]);
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
});
