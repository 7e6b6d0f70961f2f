/**
 * Lets a model write: each next token is drawn from what the model expects after all tokens so far.
 *
 *   p = softmax(logits / temperature)      0 takes the likeliest token; 1 is what the model believes; more is wilder
 */

import type { Tokenizer } from '@fourfold/data';
import { forward, freePlace, type Llama, placeOf } from '@fourfold/model';
import { kernels } from '@fourfold/ops';
import { cast, keyOf, uniforms } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

/** How a text goes on from a prompt. */
export interface SampleOptions {
  /** How many tokens to add. */
  readonly tokens: number;
  /** 0 takes the likeliest token; 1 is what the model believes. */
  readonly temperature: number;
  /** Of the draws. */
  readonly seed: number;
  /** The most tokens that the model looks back on. */
  readonly context: number;
}

/** `prompt` and what the model makes of it. The same seed gives the same text. The model stays the caller's. */
export async function sample(
  model: Llama,
  tokenizer: Tokenizer,
  prompt: string,
  { tokens, temperature, seed, context }: SampleOptions,
): Promise<string> {
  const ids = Array.from(tokenizer.encode(prompt));
  for (const draw of uniforms(keyOf(seed, 'sample'), 0, tokens)) {
    const seen = ids.slice(-context);
    const tokens_1T = tf.tensor2d(seen, [1, seen.length], 'int32');
    const logits_1V = await nextTokenLogits(model, tokens_1T);
    ids.push(pickToken(await logits_1V.data(), temperature, draw));
    tf.dispose([tokens_1T, logits_1V]);
  }
  return tokenizer.decode(ids);
}

/** Logits of the token after the last of each sequence, [B, V], float32. Throws Error where the model is a part. */
export async function nextTokenLogits(model: Llama, tokens_BT: Tensor): Promise<Tensor> {
  const { head } = model;
  if (!head || head.shard) throw new Error('logits need a whole model, and this is a part of one');
  const [B, T] = tokens_BT.shape as [number, number];
  const place = placeOf(model, B, T);
  const [x_ND, pull] = await forward(model, tokens_BT, place);
  pull.drop();
  freePlace(place);
  const logits_BV = tf.tidy(() => {
    const last_BD = kernels.slice(kernels.reshape(x_ND, [B, T, -1]), 1, T - 1, 1);
    return cast(kernels.matmul(kernels.reshape(last_BD, [B, -1]), head.value, 'nt'), 'float32');
  });
  x_ND.dispose();
  return logits_BV;
}

/** The id at `draw` (0 to 1) of the distribution's cumulative sum, of exp(logit / temperature); at 0 the likeliest. */
export function pickToken(logits_V: ArrayLike<number>, temperature: number, draw: number): number {
  const logits = Array.from(logits_V);
  const largest = logits.reduce((a, b) => Math.max(a, b));
  if (temperature === 0) return logits.indexOf(largest);
  const weights = logits.map((logit) => Math.exp((logit - largest) / temperature));
  let left = draw * weights.reduce((a, b) => a + b);
  for (const [token, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return token;
  }
  return logits.indexOf(largest); // rounding left a crumb
}
