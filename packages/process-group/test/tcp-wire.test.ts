import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromHalf, toHalf, WIRES, type WireName, wireFor } from '../src/tcp/wire.ts';

const bytesOf = (x: Float32Array): Uint8Array => new Uint8Array(x.buffer, x.byteOffset, x.byteLength);

/** What arrives of x, and in how many bytes it travelled. */
function travel(name: WireName, x: Float32Array): { y: Float32Array; bytes: Uint8Array } {
  const wire = wireFor(name, 'float32');
  const before = Float32Array.from(x);
  const sent = wire.encode(bytesOf(x));
  expect(x).toEqual(before); // the sender's own
  const y = new Float32Array(x.length).fill(7);
  const room = wire.room(bytesOf(y));
  expect(room.length).toBe(sent.length);
  room.set(sent);
  wire.decode(room, bytesOf(y));
  return { y, bytes: Uint8Array.from(sent) };
}

const f32 = Math.fround;
const of = (...values: number[]) => Float32Array.from(values);
const floats = (options: { min?: number; max?: number; noNaN?: boolean } = {}) =>
  fc.float32Array({ maxLength: 200, noDefaultInfinity: true, noNaN: true, ...options });

test.each(WIRES)('%s: int32 and bfloat16 tensors travel plain', (name) => {
  for (const dtype of ['int32', 'bfloat16'] as const) expect(wireFor(name, dtype)).toBe(wireFor('plain', 'float32'));
});

describe('plain', () => {
  test('nothing is copied, and every bit arrives', () => {
    const wire = wireFor('plain', 'float32');
    const x = bytesOf(of(1, -0, Number.NaN, 1e-42, Number.NEGATIVE_INFINITY));
    expect(wire.encode(x)).toBe(x);
    expect(wire.room(x)).toBe(x);
    const y = new Uint8Array(x.length);
    wire.decode(x, y);
    expect(y).toEqual(x);
  });
});

describe('bfloat16', () => {
  test('half the bytes, and an error of at most 2^-8 of each number', () => {
    fc.assert(
      fc.property(floats({ min: f32(-3e38), max: f32(3e38) }), (x) => {
        const { y, bytes } = travel('bfloat16', x);
        expect(bytes.length).toBe(2 * x.length);
        // Subnormal numbers are spaced 2^-133 apart, whatever their size.
        for (const [i, value] of x.entries())
          expect(Math.abs((y[i] as number) - value)).toBeLessThanOrEqual(
            Math.max(Math.abs(value) * 2 ** -8, 2 ** -134),
          );
      }),
    );
  });

  test('what has travelled once travels on without another change', () => {
    fc.assert(
      fc.property(floats({ noNaN: false }), (x) => {
        const once = travel('bfloat16', x);
        const twice = travel('bfloat16', once.y);
        expect(twice.bytes).toEqual(once.bytes);
        expect(bytesOf(twice.y)).toEqual(bytesOf(once.y));
      }),
    );
  });

  test('to nearest, ties to even, up to infinity', () => {
    const ulp = 2 ** -7; // the spacing of bfloat16 from 1 to 2
    const { y } = travel('bfloat16', of(1 + ulp / 2, 1 + (3 * ulp) / 2, 1 + 0.51 * ulp, 3.4e38, -3.4e38, 1e-45));
    expect([...y]).toEqual([1, 1 + 2 * ulp, 1 + ulp, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0]);
  });

  test('NaN with any payload stays NaN; infinities, zeros and their signs stay', () => {
    const nans = new Float32Array(Uint32Array.of(0x7f800001, 0xffffffff, 0x7fc00000, 0x7fbfffff).buffer);
    expect(travel('bfloat16', nans).y.every(Number.isNaN)).toBe(true);
    const { y } = travel('bfloat16', of(Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0));
    expect(y).toEqual(of(Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0));
  });
});

describe('q80', () => {
  const largestOf = (x: Float32Array, i: number) => {
    const start = 32 * Math.floor(i / 32);
    return Math.max(...x.subarray(start, start + 32).map(Math.abs));
  };
  /** Up to 8.3e6 an error of a 250th of the block's largest; 4e-6 more, since half precision has no finer scale. */
  const expectNear = (x: Float32Array, y: Float32Array) => {
    for (const [i, value] of x.entries())
      expect(Math.abs((y[i] as number) - value)).toBeLessThanOrEqual(largestOf(x, i) / 250 + 4e-6);
  };

  test('34 bytes for 32 numbers, less where fewer are left', () => {
    const lengths = [0, 1, 31, 32, 33, 64, 100];
    const bytes = lengths.map((length) => travel('q80', new Float32Array(length).fill(1)).bytes.length);
    expect(bytes).toEqual([0, 3, 33, 34, 37, 68, 108]);
  });

  test('the error is at most 1/250 of the block’s largest, and 4e-6', () => {
    fc.assert(fc.property(floats({ min: f32(-8e6), max: f32(8e6) }), (x) => expectNear(x, travel('q80', x).y)));
    const scales = fc.integer({ min: -22, max: 22 }).map((power) => 2 ** power);
    fc.assert(
      fc.property(floats({ min: -1, max: 1 }), scales, (x, scale) => {
        const scaled = x.map((value) => value * scale);
        expectNear(scaled, travel('q80', scaled).y);
      }),
    );
  });

  test('blocks are apart: a large number spoils only its neighbours of the same 32', () => {
    const x = Float32Array.from({ length: 96 }, (_, i) => (i === 40 ? 1e6 : Math.sin(i)));
    const { y } = travel('q80', x);
    for (const i of x.keys())
      if (i < 32 || i >= 64) expect(Math.abs((y[i] as number) - (x[i] as number))).toBeLessThan(0.004);
    expect(y[41]).toBe(0);
  });

  test('whole multiples of the scale arrive exactly, the block’s largest too', () => {
    const x = Float32Array.from({ length: 32 }, (_, i) => (i * 8 - 127) / 64);
    expect(travel('q80', x).y).toEqual(x);
  });

  test('a largest number whose scale half precision rounds down is clamped to 127', () => {
    const largest = 127 * (1 + 2 ** -11 - 2 ** -20); // the scale becomes 1
    expect([...travel('q80', of(largest, -largest)).y]).toEqual([127, -127]);
  });

  test('zeros stay zeros, numbers below 3.7e-6 become zeros', () => {
    expect(travel('q80', new Float32Array(40)).y).toEqual(new Float32Array(40));
    expect([...travel('q80', of(3.7e-6, -1e-40, 1e-45)).y].map(Math.abs)).toEqual([0, 0, 0]);
    expect(travel('q80', of(3.9e-6)).y[0]).toBeGreaterThan(0);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 8.4e6])(
    'a block with %d arrives as NaN, the next one whole',
    (odd) => {
      const x = new Float32Array(64).fill(1);
      x[3] = odd;
      const { y } = travel('q80', x);
      expect(y.subarray(0, 32).every(Number.isNaN)).toBe(true);
      expect(y.subarray(32).every((value) => Math.abs(value - 1) < 0.004)).toBe(true);
    },
  );

  test('what has travelled once travels on unchanged, where the largest is above 1e-3', () => {
    fc.assert(
      fc.property(floats({ min: f32(-8e6), max: f32(8e6) }), (values) => {
        const x = values.map((value) => value + Math.sign(value));
        const once = travel('q80', x);
        expect(travel('q80', once.y).bytes).toEqual(once.bytes);
      }),
    );
  });
});

describe('half precision', () => {
  test('each half from 0 to infinity is its own nearest', () => {
    const wrong = Array.from({ length: 0x7c01 }, (_, half) => half).filter((half) => toHalf(fromHalf(half)) !== half);
    expect(wrong).toEqual([]);
    expect(fromHalf(0x3c00)).toBe(1);
    expect(fromHalf(0x7bff)).toBe(65504);
    expect(fromHalf(1)).toBe(2 ** -24);
  });

  test('any number becomes the nearer of its neighbours', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0x7bfe }), fc.double({ min: 0, max: 1, noNaN: true }), (half, part) => {
        const [low, high] = [fromHalf(half), fromHalf(half + 1)];
        const value = low + part * (high - low);
        expect(toHalf(value)).toBe(value - low < high - value ? half : half + 1);
      }),
    );
  });

  test('beyond 65504', () => {
    expect([65519, 65520, 1e300, Number.POSITIVE_INFINITY].map(toHalf)).toEqual([0x7bff, 0x7c00, 0x7c00, 0x7c00]);
    expect(fromHalf(toHalf(Number.NaN))).toBeNaN();
    expect(fromHalf(0x7c00)).toBe(Number.POSITIVE_INFINITY);
  });
});
