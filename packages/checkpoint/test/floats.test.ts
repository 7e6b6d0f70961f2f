import { expect, test } from 'vitest';
import { bfloatValue, fromFloat32, halfValue, toFloat32 } from '../src/floats.ts';

const every = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits);

test.each(['F16', 'BF16'] as const)('%s: all 65,536 come back bit by bit, NaNs too', (dtype) => {
  expect(fromFloat32(dtype, toFloat32(dtype, every))).toEqual(every);
});

test('known values', () => {
  const values = [0, 1, -2, 65504, 2 ** -24, 1.5 * 2 ** -15, Number.POSITIVE_INFINITY];
  const halves = [0, 0x3c00, 0xc000, 0x7bff, 1, 0x0300, 0x7c00];
  expect([...toFloat32('F16', Uint16Array.from(halves))]).toEqual(values);
  expect(halves.map(halfValue)).toEqual(values);
  expect([0x3f80, 0xc000, 0x4049].map(bfloatValue)).toEqual([1, -2, 3.140625]);
});

test('narrowing rounds to the nearest, halfway to the even one', () => {
  // Between neighbours a and b of a format, the middle goes to the one whose last bit is 0, all else to the nearer.
  for (const [dtype, value] of [['F16', halfValue] as const, ['BF16', bfloatValue] as const])
    for (const bits of [0, 1, 0x0201, 0x03ff, 0x0400, 0x1234, 0x3bff, 0x4248, 0x7bfe]) {
      const [a, b] = [value(bits), value(bits + 1)];
      const middle = (a + b) / 2;
      const narrow = (x: number) => fromFloat32(dtype, Float32Array.of(x))[0];
      expect(narrow(middle)).toBe(bits % 2 === 0 ? bits : bits + 1);
      expect(narrow(a + (b - a) * 0.4375)).toBe(bits);
      expect(narrow(a + (b - a) * 0.5625)).toBe(bits + 1);
    }
});

test('too large for a float16 is infinite, too small is zero of its sign', () => {
  const narrow = (x: number) => fromFloat32('F16', Float32Array.of(x))[0];
  expect([65519, 65520, -1e30, 2 ** -26, -(2 ** -26)].map(narrow)).toEqual([0x7bff, 0x7c00, 0xfc00, 0, 0x8000]);
});
