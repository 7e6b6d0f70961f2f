/**
 * 16-bit floats in both directions. JavaScript on Node 20 has none, so they come and go as their bits.
 *
 *     float32    1 sign  8 exponent  23 fraction
 *     bfloat16   1 sign  8 exponent   7 fraction     the upper half of a float32
 *     float16    1 sign  5 exponent  10 fraction     less range, more precision
 *
 * Widening is exact. Narrowing rounds to the nearest, and halfway to the even one, as every library does; what was
 * widened before comes back bit by bit.
 */
import type { DType, TensorData } from './header.ts';

/** The dtypes that weights may have in a file. */
export const FLOATS = ['F32', 'F16', 'BF16'] as const;
/** One of FLOATS. */
export type FloatDType = (typeof FLOATS)[number];

/** float32 in memory of its own, as what is read from a file is. */
export type Floats = Float32Array<ArrayBuffer>;

export const isFloat = (dtype: DType): dtype is FloatDType => FLOATS.some((each) => each === dtype);

/** The float32 of a float16's bits, as its own bits. */
function widenedHalf(half: number): number {
  const [sign, exponent, fraction] = [(half & 0x8000) << 16, (half >> 10) & 31, half & 0x3ff];
  if (exponent === 31) return (sign | 0x7f800000 | (fraction << 13)) >>> 0; // infinity and NaN
  if (exponent > 0) return (sign | ((exponent + 112) << 23) | (fraction << 13)) >>> 0; // 112 = 127 - 15
  if (fraction === 0) return sign >>> 0;
  const shift = Math.clz32(fraction) - 21; // a subnormal: its highest bit becomes the one that isn't written
  return (sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13)) >>> 0;
}

/** The float32 of every float16 and of every bfloat16: 256 KB each. */
const HALVES = Uint32Array.from({ length: 2 ** 16 }, (_, half) => widenedHalf(half));
const BFLOATS = Uint32Array.from({ length: 2 ** 16 }, (_, upper) => upper << 16);
const HALF_VALUES = new Float32Array(HALVES.buffer);
const BFLOAT_VALUES = new Float32Array(BFLOATS.buffer);

/** The value of a float16's bits. */
export const halfValue = (half: number): number => HALF_VALUES[half] as number;
/** The value of a bfloat16's bits. */
export const bfloatValue = (upper: number): number => BFLOAT_VALUES[upper] as number;

/** Weights as float32; float32 ones are not copied. */
export function toFloat32(dtype: FloatDType, data: TensorData): Floats {
  if (data instanceof Float32Array) return data;
  const [wide, words] = [new Uint32Array(data.length), dtype === 'F16' ? HALVES : BFLOATS];
  for (let i = 0; i < wide.length; i++) wide[i] = words[data[i] as number] as number;
  return new Float32Array(wide.buffer);
}

/** float32 as weights of a dtype; float32 ones are not copied. */
export function fromFloat32(dtype: FloatDType, values: Floats): TensorData {
  if (dtype === 'F32') return values;
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const narrow = new Uint16Array(words.length);
  const round = dtype === 'F16' ? halfBits : bfloat16Bits;
  for (let i = 0; i < words.length; i++) narrow[i] = round(words[i] as number);
  return narrow;
}

function bfloat16Bits(word: number): number {
  if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | (word & 0x7f0000 ? 0 : 0x40); // NaN stays NaN
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}

function halfBits(word: number): number {
  const [sign, exponent, fraction] = [(word >>> 16) & 0x8000, (word >>> 23) & 0xff, word & 0x7fffff];
  if (exponent === 0xff) return sign | 0x7c00 | (fraction >>> 13 || (fraction ? 0x200 : 0));
  if (exponent > 142) return sign | 0x7c00; // beyond 65504: infinity
  if (exponent < 102) return sign; // below half of the smallest
  const shift = exponent > 112 ? 13 : 126 - exponent; // a subnormal loses more bits
  const whole = exponent > 112 ? fraction : fraction | 0x800000;
  const kept = (exponent > 112 ? (exponent - 112) << 10 : 0) + (whole >>> shift);
  const [rest, half] = [whole & ((1 << shift) - 1), 1 << (shift - 1)];
  return sign | (kept + (rest > half || (rest === half && kept % 2 === 1) ? 1 : 0)); // may carry into the exponent
}
