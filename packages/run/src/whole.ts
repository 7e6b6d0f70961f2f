/**
 * What a run makes of whole tensors, which rank 0 gathers: a text that the model writes, and the first gradients.
 */
import { gatherWhole, writeTensors } from '@fourfold/checkpoint';
import { sample } from '@fourfold/inference';
import { createLlama, initialize, parameterShapes } from '@fourfold/model';
import type { Setup } from '@fourfold/settings';
import * as tf from '@tensorflow/tfjs-core';
import type { Rank } from './rank.ts';

/** Comparable between tokenizers: how many bits the model needs for a byte of the text. */
export const bitsPerByte = (nats: number, { text }: Setup): number =>
  (nats * text.validation.count) / text.validation.bytes / Math.LN2;

/** What the model writes after the prompt. The first rank gathers all weights for that; the others get undefined. */
export async function writeSample({ setup, mesh, parameters }: Rank): Promise<string | undefined> {
  const { config, shape, tokenizer } = setup;
  const weights = await gatherWhole(parameterShapes(shape), parameters, mesh, ({ value }) => value);
  if (mesh.world.rank > 0) return undefined;
  const model = createLlama(shape, { dtype: config.precision });
  initialize(model, ({ name }) => weights.get(name) as tf.Tensor);
  const { sampleTokens: tokens, temperature, seed, seqLength: context } = config;
  const text = await sample(model, tokenizer, config.prompt, { tokens, temperature, seed, context });
  tf.dispose([...weights.values()]);
  for (const parameter of model.parameters) parameter.dispose();
  return text;
}

/** Writes the mean gradients after `reduced` to a file. */
export async function writeGradients({ setup, parameters, mesh, data }: Rank, path: string): Promise<void> {
  const mine = await data.wholeGradients();
  const all = await gatherWhole(parameterShapes(setup.shape), parameters, mesh, (one) => mine.get(one) as tf.Tensor);
  tf.dispose([...mine.values()]);
  if (mesh.world.rank === 0) await writeTensors(path, all);
}
