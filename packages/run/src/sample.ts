/**
 * A text that the model writes, with whole weights, which rank 0 gathers.
 */
import { gatherWhole } from '@fourfold/checkpoint';
import { sample } from '@fourfold/inference';
import { createLlama, initialize, parameterShapes } from '@fourfold/model';
import * as tf from '@tensorflow/tfjs-core';
import type { Rank } from './rank.ts';

/** The prompt and what the model writes after it. All ranks call it; the first gathers all weights, others get none. */
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
