import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type OverlayOptions, overlay, relativeDifferences } from '../src/overlay.ts';

const falling = (count: number, factor = 1): number[] =>
  Array.from({ length: count }, (_, i) => factor * (2 + 3 * Math.exp(-i / 20)));
const draw = (losses: readonly (readonly number[])[], limit?: OverlayOptions['limit']): string => {
  const series = losses.map((one, i) => ({ name: `run ${i}`, losses: one })) as unknown as OverlayOptions['series'];
  return overlay({ title: 'Runs', series, ...(limit ? { limit } : {}) });
};

/** The places of a drawing's paths: the upper panel's, the first run's before the others', then the lower panel's. */
const paths = (svg: string): [x: number, y: number][][] =>
  [...svg.matchAll(/ d="M([^"]+)"/g)].map(([, places = '']) =>
    places.split('L').map((place) => place.split(' ').map(Number) as [number, number]),
  );

test('a difference is relative to the reference, and never negative', () => {
  expect(relativeDifferences([2.2, 3.6, 5], [2, 4, 5])).toEqual([expect.closeTo(0.1, 12), expect.closeTo(0.1, 12), 0]);
  expect(relativeDifferences([1, 1], [2, 2, 2])).toEqual([0.5, 0.5]); // the steps that both have
});

test('runs with the same losses lie on one line, dash after dash, and are equal at every step', () => {
  const svg = draw([falling(50), falling(50), falling(50)]);
  const [first, second, third, ...apart] = paths(svg);
  expect(first).toHaveLength(50);
  expect(first?.[0]?.[0]).toBe(78);
  expect(first?.at(-1)?.[0]).toBe(690);
  expect([second, third]).toEqual([first, first]);
  expect(svg).toMatch(/class="run0"[^>]* stroke-dasharray="9 9" stroke-dashoffset="0"/);
  expect(svg).toMatch(/class="run1"[^>]* stroke-dasharray="9 9" stroke-dashoffset="-9"/);
  for (const line of apart) expect(new Set(line.map(([, y]) => y))).toEqual(new Set([578])); // the level "equal"
  expect(svg.match(/>equal at every step</g)).toHaveLength(2);
});

test('below, a decade is as high as every other, and the line never falls', () => {
  const one = Array(5).fill(1);
  const svg = draw([one, [1, 1 + 1e-6, 1, 1 + 1e-5, 1 + 1e-4]]);
  const heights = (paths(svg).at(-1) ?? []).map(([, y]) => y);
  const [equal = 0, micro = 0, still = 0, ten = 0, hundred = 0] = heights;
  expect(equal).toBe(578);
  expect(still).toBe(micro);
  expect(micro - ten).toBeCloseTo(ten - hundred, 0);
  expect(ten - hundred).toBeGreaterThan(20);
  expect(svg).toContain('>at most 1.0e-4 apart</text>');
  expect(svg).toContain('>1e-4</text>');
});

test('the limit is a line as long as the steps it holds for, at its difference', () => {
  const svg = draw([falling(101), falling(101, 1 + 1e-5)], { difference: 1e-5, steps: 26 });
  const [, right, y] = /class="limit" x1="78" x2="([\d.]+)" y1="([\d.]+)"/.exec(svg)?.map(Number) ?? [];
  expect(right).toBe(78 + (690 - 78) / 4);
  expect(y).toBeCloseTo(paths(svg).at(-1)?.[0]?.[1] ?? 0, 0);
  expect(svg).toContain('>allowed: 1e-5</text>');
  expect(draw([falling(10), falling(10)], { difference: 1e-5, steps: 20 })).toMatch(/class="limit" x1="78" x2="690"/);
  expect(draw([falling(10), falling(10)])).not.toContain('<line class="limit"');
});

test('eight long runs make a file under 60 KB, each line with its first and last step', () => {
  const noise = (i: number): number[] => falling(5000).map((loss, step) => loss * (1 + 1e-7 * ((step * (i + 3)) % 11)));
  const svg = draw(Array.from({ length: 8 }, (_, i) => noise(i)));
  expect(svg.length).toBeLessThan(60_000);
  expect(paths(svg)).toHaveLength(15);
  for (const line of paths(svg)) expect([line[0]?.[0], line.at(-1)?.[0]]).toEqual([78, 690]);
});

test.each([
  ['one run', [falling(10)]],
  ['one step', [[3], [3.1]]],
  ['no step', [[], []]],
  ['a run that stopped early', [falling(10), falling(4)]],
  ['losses that are not finite', [falling(4), [5, Number.NaN, Number.POSITIVE_INFINITY, 3]]],
])('%s: a whole picture', (_, losses) => {
  const svg = draw(losses, { difference: 1e-5, steps: 20 });
  expect(svg).toMatch(/^<svg .*<\/svg>\n$/s);
  expect(svg.replace(/<style>.*<\/style>/s, '')).not.toMatch(/NaN|Infinity|undefined/);
});

test('whatever the losses, every line stays in its panel', () => {
  const losses = fc.array(fc.double({ min: 1e-3, max: 20, noNaN: true }), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(losses, losses, (a, b) => {
      const [first = [], second = [], apart = []] = paths(draw([a, b]));
      for (const [x, y] of [...first, ...second]) expect(x >= 78 && x <= 690 && y >= 74 && y <= 340).toBe(true);
      for (const [x, y] of apart) expect(x >= 78 && x <= 690 && y >= 400 && y <= 578).toBe(true);
    }),
  );
});

test('names are escaped', () => {
  const svg = overlay({
    title: 'a < b',
    series: [
      { name: '<one>', losses: [1] },
      { name: 'x & y', losses: [1] },
    ],
  });
  for (const text of ['a &lt; b', '>&lt;one&gt;<', 'from &lt;one&gt; so far', '>x &amp; y<'])
    expect(svg).toContain(text);
});
