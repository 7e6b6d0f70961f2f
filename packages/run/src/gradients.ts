/** The first step's gradients as a file: whole tensors, which rank 0 gathers. */
import { gatherWhole, writeTensors } from '@fourfold/checkpoint';
import { parameterShapes } from '@fourfold/model';
import * as tf from '@tensorflow/tfjs-core';
import type { Rank } from './rank.ts';

/** Writes the mean gradients after `reduced` to a safetensors file: whole tensors, float32. All ranks call it. */
export async function writeGradients({ setup, parameters, mesh, data }: Rank, path: string): Promise<void> {
  const mine = await data.wholeGradients();
  const all = await gatherWhole(parameterShapes(setup.shape), parameters, mesh, (one) => mine.get(one) as tf.Tensor);
  tf.dispose([...mine.values()]);
  if (mesh.world.rank === 0) await writeTensors(path, all);
}
