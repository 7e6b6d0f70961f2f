/**
 * The blocks of quantized weights in a GGUF file, back to float32.
 *
 *     F32  F16  BF16     numbers as they are
 *     Q8_0     32 weights:  d, 32 x int8                     w = d · q
 *     Q4_0     32 weights:  d, 16 bytes of two q each        w = d · (q - 8)
 *     Q4_1     32 weights:  d, m, 16 bytes of two q each     w = d · q + m
 *     Q6_K    256 weights:  6 bits each in two places, 16 x int8 scales, d     w = d · scale · (q - 32)
 *
 * d and m are float16. In a block of 4 bits, a byte's lower half is weight i and its upper half weight i + 16. Every
 * product is exact in JavaScript's doubles, so a weight is rounded once, and has the bits that ggml's own code gives.
 * The formats: https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c
 */
import { bfloatValue, halfValue } from '../floats.ts';

/** Writes a block's weights, which begin at byte `at`, to out[to] and after. */
export type Unpack = (block: DataView, at: number, out: Float32Array, to: number) => void;

/** How weights of one kind lie in a GGUF file. */
export interface BlockFormat {
  /** As ggml names it: 'Q4_0'. */
  readonly name: string;
  /** Weights of a block. */
  readonly weights: number;
  /** Bytes of a block. */
  readonly bytes: number;
  /** Turns one block into numbers. */
  readonly unpack: Unpack;
}

const half = (block: DataView, at: number): number => halfValue(block.getUint16(at, true));

const q8_0: Unpack = (block, at, out, to) => {
  const d = half(block, at);
  for (let i = 0; i < 32; i++) out[to + i] = d * block.getInt8(at + 2 + i);
};

/** 32 weights of 4 bits each, from byte `at`: one of 16 values each. */
function unpackHalves(block: DataView, at: number, values: readonly number[], out: Float32Array, to: number): void {
  for (let i = 0; i < 16; i++) {
    const both = block.getUint8(at + i);
    out[to + i] = values[both & 15] as number;
    out[to + i + 16] = values[both >> 4] as number;
  }
}

const Q = Array.from({ length: 16 }, (_, q) => q);

const q4_0: Unpack = (block, at, out, to) => {
  const d = half(block, at);
  const values = Q.map((q) => d * (q - 8));
  unpackHalves(block, at + 2, values, out, to);
};

const q4_1: Unpack = (block, at, out, to) => {
  const [d, m] = [half(block, at), half(block, at + 2)];
  const values = Q.map((q) => d * q + m);
  unpackHalves(block, at + 4, values, out, to);
};

/** 128 bytes of lower four bits, 64 of upper two, 16 scales, d; the weights in two halves of four runs of 32. */
const q6K: Unpack = (block, at, out, to) => {
  const d = half(block, at + 208);
  for (let i = 0; i < 256; i++) {
    const [part, run, place] = [i >> 7, (i >> 5) & 3, i & 31];
    const low = block.getUint8(at + 64 * part + 32 * (run & 1) + place);
    const high = block.getUint8(at + 128 + 32 * part + place);
    const q = (run < 2 ? low & 15 : low >> 4) | (((high >> (2 * run)) & 3) << 4);
    out[to + i] = d * block.getInt8(at + 192 + (i >> 4)) * (q - 32);
  }
};

const f32: Unpack = (block, at, out, to) => {
  out[to] = block.getFloat32(at, true);
};
const f16: Unpack = (block, at, out, to) => {
  out[to] = half(block, at);
};
const bf16: Unpack = (block, at, out, to) => {
  out[to] = bfloatValue(block.getUint16(at, true));
};

/** By the number that a GGUF file has for it. */
export const FORMATS: ReadonlyMap<number, BlockFormat> = new Map([
  [0, { name: 'F32', weights: 1, bytes: 4, unpack: f32 }],
  [1, { name: 'F16', weights: 1, bytes: 2, unpack: f16 }],
  [2, { name: 'Q4_0', weights: 32, bytes: 18, unpack: q4_0 }],
  [3, { name: 'Q4_1', weights: 32, bytes: 20, unpack: q4_1 }],
  [8, { name: 'Q8_0', weights: 32, bytes: 34, unpack: q8_0 }],
  [14, { name: 'Q6_K', weights: 256, bytes: 210, unpack: q6K }],
  [30, { name: 'BF16', weights: 1, bytes: 2, unpack: bf16 }],
]);

/** The weights of whole blocks, as float32. */
export function dequantize(format: BlockFormat, bytes: Uint8Array): Float32Array {
  const block = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const blocks = bytes.length / format.bytes;
  const out = new Float32Array(blocks * format.weights);
  for (let i = 0; i < blocks; i++) format.unpack(block, i * format.bytes, out, i * format.weights);
  return out;
}
