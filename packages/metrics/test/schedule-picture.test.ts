import fc from 'fast-check';
import { expect, test } from 'vitest';
import { idleShare, type ScheduleCell, schedulePicture } from '../src/schedule-picture.ts';

const count = (svg: string, part: string): number => svg.split(part).length - 1;

const cell = (kind: ScheduleCell['kind'], micro: number, start: number, end: number, chunk = 0): ScheduleCell => ({
  kind,
  micro,
  chunk,
  start,
  end,
});

/** Two stages and two micro-batches under 1F1B, a backward twice as long as a forward; times begin at `first`. */
const twoByTwo = (first = 0) => [
  {
    label: 'pp0',
    cells: [
      cell('forward', 0, first, first + 1),
      cell('forward', 1, first + 1, first + 2),
      cell('backward', 0, first + 4, first + 6),
      cell('backward', 1, first + 7, first + 9),
    ],
  },
  {
    label: 'pp1',
    cells: [
      cell('forward', 0, first + 1, first + 2),
      cell('backward', 0, first + 2, first + 4),
      cell('forward', 1, first + 4, first + 5),
      cell('backward', 1, first + 5, first + 7),
    ],
  },
];

test("idle is what cells leave of the ranks' time: (pp - 1) / (micro-batches + pp - 1) of 1F1B", () => {
  expect(idleShare(twoByTwo())).toBeCloseTo(1 / 3, 12);
  expect(idleShare(twoByTwo(1000))).toBeCloseTo(1 / 3, 12);
  expect(idleShare([{ cells: [cell('forward', 0, 5, 8)] }])).toBe(0);
  expect(idleShare([{ cells: [cell('forward', 0, 5, 8)] }, { cells: [] }])).toBe(0.5);
  expect(idleShare([{ cells: [] }])).toBe(0);
});

test('idle time is the gaps between cells, whatever their lengths', () => {
  const stretch = fc.record({ gap: fc.integer({ min: 0, max: 9 }), length: fc.integer({ min: 1, max: 9 }) });
  fc.assert(
    fc.property(fc.array(stretch, { minLength: 1, maxLength: 20 }), (stretches) => {
      let time = 100 - (stretches[0]?.gap ?? 0); // what lies before the first cell is not the schedule's
      const cells = stretches.map(({ gap, length }, micro) => {
        time += gap + length;
        return cell('forward', micro, time - length, time);
      });
      const gaps = stretches.slice(1).reduce((sum, { gap }) => sum + gap, 0);
      expect(idleShare([{ cells }])).toBeCloseTo(gaps / (time - 100), 12);
    }),
  );
});

test('a box for each cell at its time, with the number of its micro-batch from 1', () => {
  const svg = schedulePicture({ title: 'two <stages>', unit: 'ticks', ranks: twoByTwo(50) });
  expect(svg).toContain('two &lt;stages&gt;');
  expect(count(svg, '<title>')).toBe(8);
  // 9 ticks over 860 pixels from 76, so 95.6 each; a pixel stays free between boxes.
  expect(svg).toContain('<rect x="76.5" width="94.6" y="98" height="34" rx="3" fill="#2f6fde"/>');
  expect(svg).toContain('<rect x="745.4" width="190.1" y="98" height="34" rx="3" fill="#d9622b"/>');
  expect(svg).toContain('<title>backward of micro-batch 2, chunk 1: 7 to 9 ticks</title>');
  expect(svg.match(/text-anchor="middle" style="[^"]*">\d/g)?.map((text) => Number(text.at(-1)))).toEqual([
    1, 2, 1, 2, 1, 1, 2, 2,
  ]);
  for (const label of ['pp0', 'pp1', 'ticks', 'forward', 'backward', "idle: 33.3% of the ranks' time"])
    expect(svg).toContain(`>${label}</text>`);
});

test('chunks have shades of their own, which the legend names; a fifth chunk begins again', () => {
  const cells = Array.from({ length: 5 }, (_, chunk) => cell('backward', 0, chunk, chunk + 1, chunk));
  const svg = schedulePicture({ title: 'chunks', unit: 'milliseconds', ranks: [{ label: 'pp0', cells }] });
  const fills = [...svg.matchAll(/<\/title><rect [^>]*fill="(#\w+)"/g)].map(([, fill]) => fill);
  expect(new Set(fills.slice(0, 4)).size).toBe(4);
  expect(fills[4]).toBe(fills[0]);
  for (const chunk of [1, 2, 3, 4]) expect(svg).toContain(`>backward, chunk ${chunk}</text>`);
  expect(svg).not.toContain('chunk 5</text>');
});

test('a number shrinks with its box, and leaves one that is too narrow', () => {
  const svg = schedulePicture({
    title: 'narrow',
    unit: 'milliseconds',
    ranks: [
      {
        label: 'pp0',
        cells: [cell('forward', 9, 0, 15), cell('forward', 10, 20, 30), cell('forward', 11, 900, 1000)],
      },
    ],
  });
  const sizes = [...svg.matchAll(/font-size: ([\d.]+)px">(\d+)</g)].map(([, size, number]) => [number, size]);
  expect(sizes).toEqual([
    ['10', '8'],
    ['12', '13'],
  ]);
  expect(svg).toContain('forward of micro-batch 11');
});

test('no cells, no boxes', () => {
  const svg = schedulePicture({ title: 'empty', unit: 'ticks', ranks: [{ label: 'pp0', cells: [] }] });
  expect(count(svg, '<title>')).toBe(0);
  expect(svg).toContain('idle: 0.0%');
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
});
