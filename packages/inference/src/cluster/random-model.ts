/**
 * A model of a shape with weights that are drawn, for measuring: what it writes means nothing, and takes as long.
 *
 * Nothing is stored and nothing is sent: each rank draws its own part when it reads it. In block formats each block
 * gets a scale that makes weights of up to 0.02, as an untrained model's; what the bits beside it are doesn't matter.
 */
import { randomFillSync } from 'node:crypto';
import type { WeightFormat } from '@fourfold/ops';
import { type ModelShape, tensorShapes } from '../shape.ts';
import { isMatrix } from '../slices.ts';
import { BLOCKS, bytesOf, lengthOf, type Part, type StoredModel } from '../stored.ts';

/** Half-precision numbers: scales of 4-bit and of 8-bit weights of up to 0.02. */
const SCALE_4_BITS = 0x1940; // 0.0026
const SCALE_8_BITS = 0x0929; // 0.00016

export function randomModel(shape: ModelShape, format: WeightFormat): StoredModel {
  const tensors = new Map(
    [...tensorShapes(shape)].map(([name, sides]) => [
      name,
      { format: isMatrix(name) ? format : ('f32' as const), shape: sides },
    ]),
  );
  return {
    path: 'random weights',
    ...{ shape, tensors, tokenizerFiles: new Map<string, string>(), ends: {}, close() {} },
    read(name, part = {}) {
      const tensor = tensors.get(name);
      if (!tensor) throw new Error(`a model of this shape has no ${name}`);
      return drawn(tensor.format, countIn(tensor.shape, part));
    },
  };
}

const countIn = (shape: readonly number[], { rows, columns }: Part): number =>
  (rows ? lengthOf(rows) : (shape[0] as number)) * (columns ? lengthOf(columns) : (shape[1] ?? 1));

function drawn(format: WeightFormat, count: number): Uint8Array {
  if (format === 'f32' || format === 'bf16') return drawnNumbers(format, count);
  const bytes = new Uint8Array(bytesOf(format, count));
  randomFillSync(bytes);
  const fields = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length; at += BLOCKS[format].bytes) {
    fields.setUint16(at, format === 'q80' ? SCALE_8_BITS : SCALE_4_BITS, true);
    if (format === 'q41') fields.setUint16(at + 2, 0x8000 | SCALE_4_BITS, true);
  }
  return bytes;
}

/** Numbers from -0.02 to 0.02; the gains of norms are of this kind too, and all the logits so small. */
function drawnNumbers(format: 'f32' | 'bf16', count: number): Uint8Array {
  const words = new Uint16Array(count);
  randomFillSync(words);
  const numbers = Float32Array.from(words, (word) => (word / 65535 - 0.5) * 0.04);
  const bytes = new Uint8Array(numbers.buffer);
  if (format === 'f32') return bytes;
  const halves = new Uint16Array(bytes.buffer);
  return new Uint8Array(Uint16Array.from({ length: count }, (_, i) => halves[2 * i + 1] as number).buffer);
}
