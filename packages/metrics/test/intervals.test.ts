import fc from 'fast-check';
import { expect, test } from 'vitest';
import { extent, type Interval, lengthOf, union, without } from '../src/intervals.ts';

const at = (...pairs: [number, number][]): Interval[] => pairs.map(([start, end]) => ({ start, end }));

test('what overlaps or touches becomes one, in order; what lies apart stays apart', () => {
  expect(union(at([5, 7], [0, 2], [6, 9], [2, 3], [20, 21], [0, 1]))).toEqual(at([0, 3], [5, 9], [20, 21]));
  expect(union(at([0, 10], [2, 3]))).toEqual(at([0, 10]));
  expect(union(at([4, 4], [0, 1]))).toEqual(at([0, 1])); // what is empty is nowhere
  expect(union([])).toEqual([]);
});

test('small gaps can be closed', () => {
  expect(union(at([0, 1], [1.5, 2], [3, 4]), 0.5)).toEqual(at([0, 2], [3, 4]));
});

test('what is left of some intervals without others', () => {
  expect(without(at([0, 10]), at([2, 3], [5, 7]))).toEqual(at([0, 2], [3, 5], [7, 10]));
  expect(without(at([0, 4], [6, 10]), at([3, 7]))).toEqual(at([0, 3], [7, 10])); // one other over two
  expect(without(at([2, 3]), at([0, 10]))).toEqual([]);
  expect(without(at([2, 3]), at([0, 2], [3, 9]))).toEqual(at([2, 3]));
  expect(without(at([2, 3]), [])).toEqual(at([2, 3]));
  expect(without([], at([2, 3]))).toEqual([]);
});

test('the length is that of all of them', () => {
  expect(lengthOf(at([0, 2], [5, 5], [7, 10.5]))).toBe(5.5);
  expect(lengthOf([])).toBe(0);
});

test('the extent goes from the first start to the last end, wherever they stand', () => {
  expect(extent(at([5, 7], [-2, 1], [3, 30], [4, 5]))).toEqual({ start: -2, end: 30 });
  expect(extent([])).toEqual({ start: 0, end: 0 });
});

// ## Counted place by place

const PLACES = 40;
const intervals = fc.array(
  fc.tuple(fc.nat(PLACES), fc.nat(PLACES)).map(([a, b]) => ({ start: Math.min(a, b), end: Math.max(a, b) })),
  { maxLength: 12 },
);
/** For each unit of time, whether any of the intervals is there. */
const covered = (some: readonly Interval[]): boolean[] =>
  Array.from({ length: PLACES }, (_, t) => some.some(({ start, end }) => start <= t && t < end));

/** They follow each other with something between. */
const areApart = (some: readonly Interval[]): boolean =>
  some.every(({ start }, i) => i === 0 || start > (some[i - 1] as Interval).end);

test('a union covers the places that its parts cover, in intervals that are apart', () => {
  fc.assert(
    fc.property(intervals, (some) => {
      const all = union(some);
      expect(covered(all)).toEqual(covered(some));
      expect(areApart(all)).toBe(true);
      expect(lengthOf(all)).toBe(covered(some).filter(Boolean).length);
    }),
  );
});

test('what is left covers the places that the others do not, and no more', () => {
  fc.assert(
    fc.property(intervals, intervals, (some, others) => {
      const left = without(union(some), union(others));
      const [a, b] = [covered(some), covered(others)];
      const expected = a.map((is, t) => is && !b[t]);
      expect(covered(left)).toEqual(expected);
      expect(areApart(left)).toBe(true);
      expect(lengthOf(left)).toBe(expected.filter(Boolean).length);
    }),
  );
});
