import { expect, test } from 'vitest';
import { type Bar, lanesPicture, pixel } from '../src/lanes.ts';

const bar = (track: string, start: number, end: number, ...strong: [number, number][]): Bar => ({
  track,
  start,
  end,
  strong: strong.map(([from, to]) => ({ start: from, end: to })),
  words: `${track} & ${start}`,
});
const picture = (bars: Bar[], more: { note?: string } = {}) =>
  lanesPicture({
    title: 'a',
    tracks: ['x', 'y'],
    lanes: [
      { label: '', bars: [] },
      { label: 'b', bars },
    ],
    laneHeight: 28,
    ...more,
  });

test('a bar is pale, its parts strong, on the track of its name in its lane', () => {
  const svg = picture([bar('y', 1000, 1826, [1000, 1100], [1200, 1201])]);
  const box = (x: number, width: number, opacity: number) =>
    `<rect x="${x}" width="${width}" y="134" height="10" fill="#d9622b" opacity="${opacity}"/>`; // 92 + 28 + 4 + 10
  expect(svg).toContain(`<g><title>y &amp; 1000</title>${box(110, 826, 0.35)}${box(110, 100, 1)}${box(310, 1, 1)}</g>`);
});

test('time counts from the first bar, in round milliseconds; nothing is thinner than half a pixel', () => {
  const svg = picture([bar('x', 5, 5), bar('x', 7, 105)]);
  expect(svg).toMatch(/text-anchor="middle">0<\/text>[\s\S]*text-anchor="middle">100<\/text>/);
  expect(svg).toContain('<rect x="110" width="0.5"');
  expect(pixel(826)).toBe(1);
});

test('a note stands below at the right, and only where there is one', () => {
  expect(picture([bar('x', 0, 1)], { note: 'a < b' })).toMatch(
    /<text x="936" y="\d+" text-anchor="end">a &lt; b<\/text>/,
  );
  expect(picture([bar('x', 0, 1)])).not.toContain('text-anchor="end">a');
});

test('no bars, no length', () => {
  expect(picture([])).not.toMatch(/NaN|Infinity|undefined/);
});
