/** A model small enough to be made for each test, in memory; every rank reads the same numbers. */

import { quantize, type WeightFormat } from '@fourfold/ops';
import { keyOf, uniforms } from '@fourfold/runtime';
import { type ModelShape, tensorShapes } from '../src/shape.ts';
import { isMatrix } from '../src/slices.ts';
import { bytesOf, readPart, type StoredModel } from '../src/stored.ts';

export const TINY: ModelShape = {
  ...{ architecture: 'llama', layers: 2, dim: 128, heads: 4, kvHeads: 2, headDim: 32, ffn: 256, vocabulary: 300 },
  ...{ theta: 1e4, normEpsilon: 1e-5, tied: true, qkNorm: false, maxPositions: 64 },
};

/** Weights from -0.1 to 0.1 that the seed and the names decide. */
export function tinyModel(seed = 1, format: WeightFormat = 'f32', shape: ModelShape = TINY): StoredModel {
  const stored = new Map(
    [...tensorShapes(shape)].map(([name, sides]) => {
      const count = sides.reduce((a, b) => a * b);
      const values = Float32Array.from(uniforms(keyOf(seed, name), 0, count), (u) => (u - 0.5) / 5);
      const held = isMatrix(name) ? format : 'f32';
      return [name, { format: held, shape: sides, bytes: quantize(held, values) }];
    }),
  );
  return {
    path: `tiny model ${seed}`,
    ...{ shape, tensors: stored, tokenizerFiles: new Map<string, string>(), ends: {}, close() {} },
    read(name, part = {}) {
      const tensor = stored.get(name);
      if (!tensor) throw new Error(`no tensor ${name}`);
      const byte = (weight: number) => bytesOf(tensor.format, weight);
      return readPart(tensor, part, (from, to) => tensor.bytes.slice(byte(from), byte(to)));
    },
  };
}
