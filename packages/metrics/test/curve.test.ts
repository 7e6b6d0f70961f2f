import { expect, test } from 'vitest';
import { type CurvePoint, lossCurve } from '../src/curve.ts';

const falling = (count: number): CurvePoint[] =>
  Array.from({ length: count }, (_, i) => ({ step: i + 1, loss: 2 + 3 * Math.exp(-i / 20) }));
const curve = (train: readonly CurvePoint[], validation: readonly CurvePoint[] = []): string =>
  lossCurve({ title: 'A run', train, validation });

/** The places of a drawing's paths: the pale one first, then the smoothed one. */
const paths = (svg: string): [x: number, y: number][][] =>
  [...svg.matchAll(/ d="M([^"]+)"/g)].map(([, places = '']) =>
    places.split('L').map((place) => place.split(' ').map(Number) as [number, number]),
  );

test('the first and the last step stand at the ends of the axis, and a lower loss stands lower', () => {
  const [raw = []] = paths(curve([{ step: 0, loss: 5 }, ...falling(200)]));
  expect(raw).toHaveLength(201);
  expect(raw[0]?.[0]).toBe(62);
  expect(raw.at(-1)?.[0]).toBe(696);
  const heights = raw.slice(1).map(([, y]) => y);
  expect(heights).toEqual([...heights].sort((a, b) => a - b));
});

test('the smoothed line takes out most of the noise and does not lag behind the drop', () => {
  const noisy = falling(400).map(({ step, loss }) => ({ step, loss: loss + (step % 2 ? 0.3 : -0.3) }));
  const [raw = [], smoothed = []] = paths(curve(noisy));
  const roughness = (line: [number, number][]): number =>
    line.slice(201).reduce((sum, [, y], i) => sum + Math.abs(y - (line[200 + i]?.[1] ?? 0)), 0);
  expect(roughness(smoothed)).toBeLessThan(roughness(raw) / 10);
  const [clean = [], smoothClean = []] = paths(curve(falling(400)));
  const gaps = clean.map(([, y], i) => Math.abs(y - (smoothClean[i]?.[1] ?? 0)));
  expect(Math.max(...gaps)).toBeLessThan(8); // pixels, of 270; a mean that looks back alone is 60 off
});

test('a long run is drawn with no more points than can be seen', () => {
  const [raw = []] = paths(curve(falling(100_000)));
  expect(raw.length).toBeLessThanOrEqual(480);
  expect(raw.length).toBeGreaterThan(400);
});

test('validation is drawn as points, and its last loss is written beside the last', () => {
  const svg = curve(falling(100), [
    { step: 50, loss: 2.6 },
    { step: 100, loss: 2.314 },
  ]);
  expect(svg.match(/<circle/g)).toHaveLength(3); // one is the legend's
  expect(svg).toMatch(/<text class="value"[^>]*>2\.31<\/text>/);
  expect(curve(falling(100))).not.toMatch(/<circle|validation</);
});

test('a loss that is not finite leaves no mark', () => {
  const svg = curve([...falling(10), { step: 11, loss: Number.NaN }, { step: 12, loss: Number.POSITIVE_INFINITY }]);
  expect(paths(svg)[0]).toHaveLength(10);
  expect(svg).not.toMatch(/NaN|Infinity/);
});

test.each([
  ['no step', []],
  ['one step', [{ step: 1, loss: 3 }]],
  ['a loss that does not move', [1, 2, 3].map((step) => ({ step, loss: 2 }))],
  ['a loss of zero', [1, 2].map((step) => ({ step, loss: 0 }))],
])('%s makes a whole picture', (_, points) => {
  const svg = curve(points);
  expect(svg).toMatch(/^<svg .*<\/svg>\n$/s);
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
});

test('texts are escaped', () => {
  const svg = lossCurve({ title: 'a < b & "c"', train: falling(3), label: '<nats>' });
  expect(svg).toContain('aria-label="a &lt; b &amp; &quot;c&quot;"');
  expect(svg).toContain('>&lt;nats&gt;</text>');
});
