/**
 * One training step as both sides of the race run it: forward, backward, AdamW, on random tokens.
 */
import { createLlama, initialize, initialWeights, type LlamaConfig, lossAndGradients } from '@fourfold/model';
import { AdamW } from '@fourfold/optim';
import { type DType, keyOf, randomWords } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';

/** A model's shape and the size of its batch. */
export interface Shape {
  readonly name: string;
  readonly config: LlamaConfig;
  readonly batch: number;
  readonly seq: number;
}

/** Makes the model and returns what runs one step of it, to the loss (which it waits for). */
export function trainingStep({ config, batch, seq }: Shape, dtype: DType): () => Promise<number> {
  const model = createLlama(config, { dtype });
  initialize(model, initialWeights(0, config));
  const optimizer = new AdamW(model.parameters, { weightDecay: 0.01, beta2: 0.999 });
  const words = randomWords(keyOf(0, 'tokens'), 0, 2 * batch * seq);
  const ids = Int32Array.from(words, (word) => word % config.vocabulary);
  const tokens_BT = tf.tensor2d(ids.subarray(0, batch * seq), [batch, seq], 'int32');
  const targets_BT = tf.tensor2d(ids.subarray(batch * seq), [batch, seq], 'int32');
  return async () => {
    const loss = await lossAndGradients(model, tokens_BT, targets_BT);
    optimizer.update(3e-4);
    const [value = Number.NaN] = await loss.data();
    loss.dispose();
    return value;
  };
}
