/**
 * How weights are kept: numbers in blocks of 32 that share a scale, as ggml, llama.cpp and distributed-llama have them.
 *
 *     q40   | d | 16 bytes |       value = d · (q - 8)    q in 0..15        18 bytes for 32 numbers
 *     q41   | d | m | 16 bytes |   value = d · q + m      q in 0..15        20 bytes
 *     q80   | d | 32 bytes |       value = d · q          q in -127..127    34 bytes
 *     f32, bf16                    as they are            128 and 64 bytes
 *
 * d and m are float16, little-endian as all else. Byte j of 16 holds number j in its lower half, number j + 16 in its
 * upper half. An answer's every weight is read once for each token, so that its bytes are its time: q40 takes 4.5 bits
 * a weight where float32 takes 32.
 *
 * On TensorFlow native/ops/blocks.h converts; the functions here, which say the same, do it elsewhere.
 */
import { onTensorflow } from '@fourfold/runtime';
import { tensorflow } from '@fourfold/runtime/tensorflow';

/** How weights are kept: as floats, or in blocks. */
export type WeightFormat = 'f32' | 'bf16' | 'q40' | 'q41' | 'q80';

/** Numbers of a block. */
export const BLOCK = 32;
/** Bytes of a block of 32 numbers. */
export const BLOCK_BYTES: Record<WeightFormat, number> = { f32: 128, bf16: 64, q40: 18, q41: 20, q80: 34 };
/** The formats' numbers in native/ops/blocks.h. */
export const FORMAT_NUMBER: Record<WeightFormat, number> = { f32: 0, bf16: 1, q40: 2, q41: 3, q80: 4 };

/** Whether 32 numbers share a scale, so that a row must be a multiple of 32 long. */
export const inBlocks = (format: WeightFormat): boolean => format !== 'f32' && format !== 'bf16';

/** Bytes of a row of `columns` numbers. */
export const rowBytes = (format: WeightFormat, columns: number): number => (columns * BLOCK_BYTES[format]) / BLOCK;

/** The same memory as bytes. */
const asBytes = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);

/**
 * `values` as blocks: rounded as ggml rounds, to the bit.
 *
 * @throws RangeError where there are not a multiple of 32
 */
export function quantize(format: WeightFormat, values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(rowBytes(format, wholeBlocks(values.length)));
  if (onTensorflow()) tensorflow().native.quantize(FORMAT_NUMBER[format], asBytes(values), bytes);
  else
    eachBlock(format, values, bytes, (numbers, block) => {
      quantizeBlock[format](numbers, block);
    });
  return bytes;
}

/**
 * The numbers that blocks stand for.
 *
 * @throws RangeError where the bytes are not whole blocks
 */
export function dequantize(format: WeightFormat, bytes: Uint8Array): Float32Array {
  const values = new Float32Array(wholeBlocks((bytes.length / BLOCK_BYTES[format]) * BLOCK));
  if (onTensorflow()) tensorflow().native.dequantize(FORMAT_NUMBER[format], bytes, asBytes(values));
  else
    eachBlock(format, values, bytes, (numbers, block) => {
      for (let i = 0; i < BLOCK; i++) numbers[i] = numberAt[format](block, i);
    });
  return values;
}

/** The count itself, where it makes whole blocks. */
function wholeBlocks(numbers: number): number {
  if (numbers % BLOCK === 0) return numbers;
  throw new RangeError(`${numbers} numbers are not a multiple of ${BLOCK}`);
}

/** Calls `work` with 32 numbers and their block's bytes, block after block. */
function eachBlock(
  format: WeightFormat,
  values: Float32Array,
  bytes: Uint8Array,
  work: (numbers: Float32Array, block: DataView) => void,
): void {
  const size = BLOCK_BYTES[format];
  for (let b = 0; b < values.length / BLOCK; b++)
    work(
      values.subarray(b * BLOCK, (b + 1) * BLOCK),
      new DataView(bytes.buffer as ArrayBuffer, bytes.byteOffset + b * size, size),
    );
}

// ## Blocks in TypeScript

const { fround } = Math;
/** 1 / d in float32, as C computes it; 0 for a block of zeros. */
const inverse = (d: number): number => (d === 0 ? 0 : fround(1 / d));
/** Half away from zero, as C's roundf. */
const away = (x: number): number => Math.sign(x) * Math.round(Math.abs(x));
/** A number from 0 to 15, as C's cast cuts it. */
const nibble = (x: number): number => Math.min(15, Math.trunc(fround(x)));

/** 32 numbers into a block. q40's d comes of the number farthest from 0, with its sign, so that this one is -8 · d. */
const quantizeBlock: Record<WeightFormat, (x: Float32Array, block: DataView) => void> = {
  f32: (x, block) => {
    for (const [i, value] of x.entries()) block.setFloat32(4 * i, value, true);
  },
  bf16: (x, block) => {
    for (const [i, value] of x.entries()) block.setUint16(2 * i, floatToBfloat16(value), true);
  },
  q40: (x, block) => {
    const most = x.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    const d = fround(most / -8);
    block.setUint16(0, floatToHalf(d), true);
    putNibbles(block, 2, (i) => nibble(fround((x[i] as number) * inverse(d)) + 8.5));
  },
  q41: (x, block) => {
    const [least, most] = [Math.min(...x), Math.max(...x)];
    const d = fround(fround(most - least) / 15);
    block.setUint16(0, floatToHalf(d), true);
    block.setUint16(2, floatToHalf(least), true);
    putNibbles(block, 4, (i) => nibble(fround(fround((x[i] as number) - least) * inverse(d)) + 0.5));
  },
  q80: (x, block) => {
    const d = fround(x.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127);
    block.setUint16(0, floatToHalf(d), true);
    for (const [i, value] of x.entries()) block.setInt8(2 + i, away(fround(value * inverse(d))));
  },
};

/** 32 numbers of 4 bits in 16 bytes: number i below number i + 16. */
function putNibbles(block: DataView, at: number, q: (i: number) => number): void {
  for (let i = 0; i < 16; i++) block.setUint8(at + i, q(i) | (q(i + 16) << 4));
}

/** The float16 at a byte. */
const half = (block: DataView, at: number): number => halfToFloat(block.getUint16(at, true));
/** Number i of 32, 4 bits. */
const nibbleAt = (block: DataView, at: number, i: number): number =>
  i < 16 ? block.getUint8(at + i) & 15 : block.getUint8(at + i - 16) >> 4;

/** Number i of a block. */
const numberAt: Record<WeightFormat, (block: DataView, i: number) => number> = {
  f32: (block, i) => block.getFloat32(4 * i, true),
  bf16: (block, i) => bfloat16ToFloat(block.getUint16(2 * i, true)),
  q40: (block, i) => half(block, 0) * (nibbleAt(block, 2, i) - 8),
  q41: (block, i) => fround(half(block, 0) * nibbleAt(block, 4, i)) + half(block, 2),
  q80: (block, i) => half(block, 0) * block.getInt8(2 + i),
};

// ## Numbers of 16 bits

/** A float32's bits. */
const words = (x: number): number => new Uint32Array(Float32Array.of(x).buffer)[0] as number;

/** To the nearest bfloat16, of two equally near ones the even one. */
function floatToBfloat16(x: number): number {
  const bits = words(x);
  return Number.isNaN(x) ? 0x7fc0 : ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** A bfloat16 is the upper half of a float32. */
const bfloat16ToFloat = (bits: number): number => new Float32Array(Uint32Array.of(bits << 16).buffer)[0] as number;

/** Sign, 5 bits of exponent (bias 15), 10 of fraction: (1 + f / 1024) · 2^(e - 15), and f · 2^-24 where e is 0. */
export function halfToFloat(bits: number): number {
  const [sign, e, f] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (e === 31) return f === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (e === 0 ? f * 2 ** -24 : (1 + f / 1024) * 2 ** (e - 15));
}

/** To the nearest float16, of two equally near ones the even one. */
export function floatToHalf(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const size = Math.abs(x);
  if (Number.isNaN(x)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00; // half way from the largest, 65504, to what would come next
  const exponent = Math.max(-14, Math.floor(Math.log2(size)));
  const steps = even(size / 2 ** (exponent - 10)); // in units of the last place: 1024 and more where it is normal
  return sign | (((exponent + 14) << 10) + steps);
}

/** Half to even. */
function even(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
