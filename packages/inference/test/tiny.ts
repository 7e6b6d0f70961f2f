/** Small models that tests make: weights drawn from their names, stored in any format. */

import type { WeightFormat } from '@fourfold/ops';
import { keyOf, normals } from '@fourfold/runtime';
import { type ModelShape, tensorShapes } from '../src/shape.ts';
import { isMatrix } from '../src/slices.ts';
import { bytesFrom, bytesOf, floatsOf, readPart, type StoredModel } from '../src/stored.ts';

/** Six heads that share two of keys and values; a feed-forward of four blocks. */
export const TINY: ModelShape = {
  ...{ architecture: 'llama', layers: 2, dim: 64, heads: 6, kvHeads: 2, headDim: 32, ffn: 128, vocabulary: 50 },
  ...{ theta: 1e4, normEpsilon: 1e-5, tied: true, qkNorm: false, maxPositions: 32 },
};

/** Four heads that share two; wide enough for parts that are several blocks. */
export const TINY_WIDE: ModelShape = {
  ...TINY,
  ...{ dim: 128, heads: 4, ffn: 256, vocabulary: 300, maxPositions: 64 },
};

export const TINY_EXPERTS: ModelShape = {
  ...{ ...TINY, architecture: 'qwen3_moe', qkNorm: true, tied: false },
  experts: { count: 4, active: 2, normalized: true },
};

/** What was read of a model. */
export interface Reads {
  bytes: number;
  largest: number;
}

/** Matrices in a format, norms and routers in float32. The seed decides what they are. */
export function tinyModel(
  shape: ModelShape = TINY,
  format: WeightFormat = 'f32',
  reads: Reads = { bytes: 0, largest: 0 },
  seed = 5,
): StoredModel & { closed: boolean } {
  const stored = new Map(
    [...tensorShapes(shape)].map(([name, sides]) => {
      const size = sides.reduce((product, side) => product * side, 1);
      const shift = sides.length === 1 ? 1 : 0;
      const values = Float32Array.from(normals(keyOf(seed, name), 0, size, 0.3), (value) => shift + value);
      const own = isMatrix(name) ? format : 'f32';
      return [name, { format: own, shape: sides, bytes: bytesFrom(own, values) }] as const;
    }),
  );
  const model = {
    ...{ path: 'tiny', shape, tensors: stored, tokenizerFiles: new Map<string, string>(), ends: { begin: 1, end: 2 } },
    closed: false,
    read(name: string, part = {}) {
      const tensor = stored.get(name);
      if (!tensor) throw new Error(`tiny has no ${name}`);
      const at = (element: number) => bytesOf(tensor.format, element);
      const bytes = readPart(tensor, part, (from, to) => tensor.bytes.slice(at(from), at(to)));
      reads.bytes += bytes.length;
      reads.largest = Math.max(reads.largest, bytes.length);
      return bytes;
    },
    close() {
      model.closed = true;
    },
  };
  return model;
}

/** A tensor's numbers. */
export const valuesOf = (model: StoredModel, name: string): Float32Array =>
  floatsOf(model.tensors.get(name)?.format ?? 'f32', model.read(name));
