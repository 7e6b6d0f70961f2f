import fc from 'fast-check';
import { expect, test } from 'vitest';
import { relative, sameBits, units, worstOf } from '../src/difference.ts';

const floats = (...numbers: number[]) => Float32Array.of(...numbers);

/** A float32 rounded to bfloat16, its upper half, to the nearest even one. */
function rounded(x: Float32Array): Float32Array {
  const bits = new Uint32Array(x.slice().buffer);
  for (const [i, word] of bits.entries()) bits[i] = (word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(bits.buffer);
}

test('relative: the largest difference, as a part of the largest element', () => {
  expect(relative(floats(1, 2.5, -4), floats(1, 2, -4))).toBe(1 / 8);
  expect(relative(floats(0, 3), floats(0, 3))).toBe(0);
  expect(relative(floats(0), floats(0))).toBe(0);
  expect(relative(floats(1), floats(0))).toBe(Number.POSITIVE_INFINITY);
});

test("units: steps of bfloat16's last place, which grow with the number", () => {
  expect(units(floats(1 + 2 ** -7), floats(1))).toBe(1);
  expect(units(floats(-2 - 2 ** -7), floats(-2))).toBe(1 / 2);
  expect(units(floats(0, 0), floats(0, 0))).toBe(0);
});

test('units: a small one of large numbers is held to the unit at 2^-9 of the largest', () => {
  expect(units(floats(256, 2 ** -8), floats(256, 0))).toBe(1); // the unit of 1/2
});

test('rounding to bfloat16 costs half a unit at the most', () => {
  const numbers = fc.array(fc.float({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1 });
  fc.assert(
    fc.property(numbers, (values) => {
      const exact = floats(...values);
      expect(units(rounded(exact), exact)).toBeLessThanOrEqual(1 / 2);
    }),
  );
});

test.each([
  ['relative', relative],
  ['units', units],
])('%s: where a number should be, NaN or nothing is infinitely far off', (_, measure) => {
  expect(measure(floats(1, Number.NaN), floats(1, 2))).toBe(Number.POSITIVE_INFINITY);
  expect(measure(floats(1), floats(1, 2))).toBe(Number.POSITIVE_INFINITY);
});

test('of several tensors the worst counts, each in its own parts', () => {
  expect(worstOf([floats(1.5), floats(100)], [floats(1), floats(104)], relative)).toBe(1 / 2);
});

test('the same bits: 0 and -0 are others, though equal', () => {
  expect(sameBits([floats(1, Number.NaN)], [floats(1, Number.NaN)])).toBe(true);
  expect(sameBits([floats(1), floats(0)], [floats(1), floats(-0)])).toBe(false);
});
