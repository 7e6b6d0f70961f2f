/**
 * Tensors of a run as a safetensors file, such as the first step's gradients.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { type StoredTensor, writeSafetensors } from './safetensors.ts';

/** Writes float32 tensors as a safetensors file, and frees them. */
export async function writeTensors(path: string, tensors: ReadonlyMap<string, Tensor>): Promise<void> {
  const stored = new Map<string, StoredTensor>();
  for (const [name, tensor] of tensors) {
    const data = Float32Array.from(await tensor.data());
    stored.set(name, { dtype: 'F32', shape: tensor.shape, data });
    tensor.dispose();
  }
  await writeSafetensors(path, stored);
}
