/**
 * How float32 numbers are written on the wire.
 *
 *     plain      4 bytes each, exact
 *     bfloat16   2 bytes each: sign, 8 bits of exponent, 7 of the fraction; off by at most 2^-8 of each number
 *     q80        34 bytes for 32: one scale in half precision and 32 int8; off by at most 1/250 of the block's largest
 *
 * Q80 is distributed-llama's format (from llama.cpp, q8_0): x ≈ scale · q, scale = max |x| / 127. A last block of fewer
 * numbers is shorter by theirs. A block with a number above 8.3e6, or with NaN, arrives as NaN. Half precision has no
 * scale between 0 and 6e-8, so below 1e-3 all numbers are off by up to 4e-6 more, and a block whose largest is below
 * that arrives as zeros: q80 is made for activations, not for gradients.
 *
 * int32 and bfloat16 tensors always travel plain.
 */
import type { DType } from '@fourfold/runtime/tensorflow';

/** How a chunk of float32 numbers becomes bytes, and numbers again. */
export interface Wire {
  /** `chunk` as it travels; the same memory where nothing changes. */
  encode(chunk: Uint8Array): Uint8Array;
  /** Memory for what `chunk` is when it travels; the chunk itself where nothing changes. */
  room(chunk: Uint8Array): Uint8Array;
  /** Writes what has travelled into `chunk`. */
  decode(bytes: Uint8Array, chunk: Uint8Array): void;
}

/** The wires by name. */
export const WIRES = ['plain', 'bfloat16', 'q80'] as const;
export type WireName = (typeof WIRES)[number];

/** The wire for tensors of this dtype. */
export const wireFor = (name: WireName, dtype: DType): Wire => (dtype === 'float32' ? wires[name] : plain);

/** The same memory as numbers. */
const floats = (bytes: Uint8Array) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

/** As they lie in memory: nothing is copied. */
const plain: Wire = {
  encode: (chunk) => chunk,
  room: (chunk) => chunk,
  decode(bytes, chunk) {
    if (bytes !== chunk) chunk.set(bytes);
  },
};

// ## bfloat16

/** The upper half of a float32, rounded to nearest, ties to even; NaN stays NaN. */
function upperHalf(bits: number): number {
  const isNumber = (bits & 0x7fffffff) <= 0x7f800000;
  return isNumber ? (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16 : (bits >>> 16) | 0x40;
}

/** Halves of words: what is cut off is rounded away first. */
const bfloat16: Wire = {
  encode(chunk) {
    const words = new Uint32Array(chunk.buffer, chunk.byteOffset, chunk.byteLength / 4);
    return new Uint8Array(Uint16Array.from(words, upperHalf).buffer);
  },
  room: (chunk) => new Uint8Array(chunk.length / 2),
  decode(bytes, chunk) {
    const words = new Uint32Array(chunk.buffer, chunk.byteOffset, chunk.byteLength / 4);
    new Uint16Array(bytes.buffer, bytes.byteOffset, words.length).forEach((half, i) => {
      words[i] = half << 16;
    });
  },
};

// ## Q80

const BLOCK = 32;
const SCALE_BYTES = 2;

/** Block by block: a scale, then its int8. What is sent comes of the rounded scale, as the other end will read it. */
const q80: Wire = {
  encode(chunk) {
    const x = floats(chunk);
    const out = q80.room(chunk);
    const fields = new DataView(out.buffer);
    for (let start = 0, at = 0; start < x.length; start += BLOCK) {
      const block = x.subarray(start, start + BLOCK);
      let largest = 0;
      for (const value of block) largest = Math.max(largest, Math.abs(value));
      const half = toHalf(largest / 127);
      const scale = fromHalf(half);
      fields.setUint16(at, half, true);
      at += SCALE_BYTES;
      for (const value of block) fields.setInt8(at++, clamp(scale > 0 ? Math.round(value / scale) : 0));
    }
    return out;
  },
  room(chunk) {
    const count = chunk.length / 4;
    return new Uint8Array(count + SCALE_BYTES * Math.ceil(count / BLOCK));
  },
  decode(bytes, chunk) {
    const x = floats(chunk);
    const fields = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let start = 0, at = 0; start < x.length; start += BLOCK) {
      const scale = fromHalf(fields.getUint16(at, true));
      at += SCALE_BYTES;
      const end = Math.min(start + BLOCK, x.length);
      for (let i = start; i < end; i++) x[i] = scale * fields.getInt8(at++);
    }
  },
};

/** To int8: a scale that was rounded down would give 128 and more. */
const clamp = (q: number): number => Math.max(-127, Math.min(127, q));

/** By name. */
const wires: Record<WireName, Wire> = { plain, bfloat16, q80 };

// ## Half precision (IEEE 754 binary16: 1 bit of sign, 5 of exponent, 10 of the fraction)

const INFINITY = 0x7c00;

/** A number of at least 0 as the nearest half's bits; from 65520 on that is infinity. */
export function toHalf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  if (value >= 65520) return INFINITY;
  const exponent = Math.max(-14, Math.floor(Math.log2(value || 1)));
  const ulps = Math.round(value / 2 ** (exponent - 10)); // of this exponent's spacing; 2048 carries into the next
  return value < 2 ** -14 ? ulps : ((exponent + 14) << 10) + ulps;
}

/** The number of a half's bits, sign left out. */
export function fromHalf(half: number): number {
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 31) return fraction ? Number.NaN : Number.POSITIVE_INFINITY;
  return exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
}
