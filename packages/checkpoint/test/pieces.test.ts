import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isInside, overlaps, type Piece, parsePieceName, partName, partSize, pieceName } from '../src/pieces.ts';

/** The elements of a piece by their numbers in the whole tensor, as slicing nested arrays finds them. */
function elementsOf({ fullShape, shard, from, to }: Piece): number[] {
  const total = fullShape.reduce((product, side) => product * side, 1);
  const inside = Array.from({ length: total }, (_, i) => i).filter((i) => {
    if (!shard) return true;
    const inner = fullShape.slice(shard.axis + 1).reduce((product, side) => product * side, 1);
    const side = fullShape[shard.axis] as number;
    return Math.floor((Math.floor(i / inner) % side) / (side / shard.of)) === shard.index;
  });
  return inside.slice(from, to);
}

/** Two pieces of one tensor of up to three dimensions, each cut as tp and then as ZeRO cuts. */
const twoPieces = fc.array(fc.constantFrom(1, 2, 4, 6, 12), { minLength: 1, maxLength: 3 }).chain((fullShape) => {
  const cut = fc.record({ axis: fc.nat(fullShape.length - 1), of: fc.constantFrom(1, 2, 3, 4, 6), at: fc.nat(11) });
  const piece = fc.tuple(fc.option(cut), fc.nat(), fc.nat()).map(([one, a, b]): Piece => {
    const isWhole = !one || (fullShape[one.axis] as number) % one.of !== 0;
    const shard = isWhole ? undefined : { axis: one.axis, of: one.of, index: one.at % one.of };
    const size = partSize({ fullShape, shard });
    const [from, to] = [a % size, b % size].sort((x, y) => x - y) as [number, number];
    return { name: 'w', fullShape, shard, from, to: to + 1 };
  });
  return fc.tuple(piece, piece);
});

test('overlaps are exactly the elements that both pieces have, each once, in order', () => {
  fc.assert(
    fc.property(twoPieces, ([source, target]) => {
      const [here, there] = [elementsOf({ ...source, from: 0 }), elementsOf({ ...target, from: 0 })];
      const found: number[] = [];
      for (const { source: s, target: t, length } of overlaps(source, target))
        for (let i = 0; i < length; i++) {
          expect(here[s + i]).toBe(there[t + i]);
          found.push(here[s + i] as number);
        }
      const both = new Set(elementsOf(source));
      expect(found).toEqual(elementsOf(target).filter((element) => both.has(element)));
    }),
    { numRuns: 500 },
  );
});

test('stretches are as long as they can be: a whole tensor is one', () => {
  const whole = { name: 'w', fullShape: [8, 6], shard: undefined, from: 0, to: 48 };
  const columns = { ...whole, shard: { axis: 1, index: 1, of: 2 }, to: 24 };
  expect([...overlaps(whole, whole)]).toEqual([{ source: 0, target: 0, length: 48 }]);
  expect([...overlaps(columns, whole)]).toHaveLength(8);
  expect([...overlaps(columns, whole)][1]).toEqual({ source: 3, target: 9, length: 3 });
});

test('a name says all, and is read back', () => {
  const shard = { axis: 0, index: 1, of: 2 };
  for (const piece of [
    { kind: 'm', name: 'model.norm.weight', shard, from: 16, to: 32 },
    { kind: 'weight', name: 'lm_head.weight', shard: undefined, from: 0, to: 64 },
  ])
    expect(parsePieceName(pieceName(piece))).toEqual(piece);
  expect(pieceName({ kind: 'm', name: 'a', shard, from: 16, to: 32 })).toBe('m a 0:1/2 16-32');
  expect(partName({ name: 'a', shard: undefined })).toBe('a all');
});

test.each([
  '',
  'a.weight',
  'm a',
  'm a all',
  'm a 0:1 0-4',
  'm a all 4',
  'm a all -1-4',
  'm a all 0-4 ',
  'm a b all 0-4',
])('no name of a piece: "%s"', (text) => expect(parsePieceName(text)).toBeUndefined());

test('a piece that its tensor cannot have is not inside', () => {
  const good = { name: 'w', fullShape: [4, 6], shard: { axis: 1, index: 2, of: 3 }, from: 0, to: 8 };
  expect(isInside(good)).toBe(true);
  for (const bad of [
    { to: 9 },
    { from: 8 },
    { shard: { axis: 2, index: 0, of: 1 } },
    { shard: { axis: 1, index: 3, of: 3 } },
    { shard: { axis: 1, index: 0, of: 4 }, to: 1 },
  ])
    expect(isInside({ ...good, ...bad })).toBe(false);
});
