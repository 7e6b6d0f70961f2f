import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Extent, shareOut } from '../src/shares.ts';

const extent = (part: string, from: number, to: number): Extent => ({ part, from, to });
const sizeOf = (extents: readonly Extent[]) => extents.reduce((sum, { from, to }) => sum + to - from, 0);

test('replicas share the work, and what one alone has it writes', () => {
  const both = [extent('a', 0, 8), extent('b', 0, 4)];
  expect(shareOut([both, [...both, extent('c', 0, 6)]])).toEqual([
    [extent('a', 0, 8)],
    [extent('b', 0, 4), extent('c', 0, 6)],
  ]);
});

test('ranges that overlap in part are cut: a tied embedding in two buckets of ZeRO', () => {
  const shares = shareOut([[extent('e', 0, 60)], [extent('e', 60, 100)], [extent('e', 0, 45)], [extent('e', 45, 100)]]);
  expect(sizeOf(shares.flat())).toBe(100);
  expect(
    shares
      .flat()
      .map(({ from }) => from)
      .sort((a, b) => a - b),
  ).toEqual([0, 45, 60]);
});

test('every element that anybody holds is written once, by one who holds it', () => {
  const extents = fc
    .tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(20), fc.integer({ min: 1, max: 20 }))
    .map(([part, from, length]) => extent(part, from, from + length));
  const elements = (some: readonly Extent[]) =>
    some.flatMap(({ part, from, to }) => Array.from({ length: to - from }, (_, i) => `${part}${from + i}`));
  fc.assert(
    fc.property(fc.array(fc.array(extents, { maxLength: 4 }), { minLength: 1, maxLength: 5 }), (held) => {
      const shares = shareOut(held);
      const written = shares.flatMap(elements);
      expect(new Set(written).size).toBe(written.length);
      expect(new Set(written)).toEqual(new Set(held.flatMap(elements)));
      for (const [rank, share] of shares.entries())
        for (const element of elements(share)) expect(elements(held[rank] as Extent[])).toContain(element);
    }),
  );
});

test('of ranks that hold the same, none writes more than one piece more than another', () => {
  const same = Array.from({ length: 16 }, (_, i) => extent(`p${i}`, 0, 10));
  expect(shareOut(Array(8).fill(same)).map(sizeOf)).toEqual(Array(8).fill(20));
});
