/**
 * A decoder without a cache: each step computes each of its sequences from their beginnings, by model's own forward.
 *
 * It's slow, and it's what every decoder with a cache must agree with.
 */
import { forward, freePlace, type Llama, placeOf } from '@fourfold/model';
import { kernels } from '@fourfold/ops';
import { cast } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import type { Decoder, Logits, Row } from '../../src/decoder.ts';

export function wholeForward(model: Llama, sizes: Pick<Decoder, 'slots' | 'maxSeqLength' | 'maxRows'>): Decoder {
  const slots: number[][] = Array.from({ length: sizes.slots }, () => []);
  let total = 0;
  return {
    ...sizes,
    vocabulary: model.config.vocabulary,
    ranks: 1,
    get cost() {
      return { total, transfer: 0, sent: 0, received: 0 };
    },
    async step(rows) {
      const began = performance.now();
      const all: Logits[] = [];
      for (const { token, slot, position, wanted } of rows) {
        const tokens = slots[slot] as number[];
        tokens.splice(position, tokens.length, token);
        if (wanted !== 'nothing') all.push(chosenOf(await logitsAfter(model, tokens), wanted));
      }
      total = performance.now() - began;
      return all;
    },
    async copySlot(from, to, length) {
      slots[to] = (slots[from] as number[]).slice(0, length);
    },
    async close() {},
  };
}

/** The logits of the token that follows: V numbers. */
async function logitsAfter(model: Llama, tokens: readonly number[]): Promise<Float32Array> {
  const tokens_1T = tf.tensor2d([...tokens], [1, tokens.length], 'int32');
  const place = placeOf(model, 1, tokens.length);
  const [x_TD, pull] = await forward(model, tokens_1T, place);
  pull.drop();
  freePlace(place);
  const logits_1V = tf.tidy(() => {
    const last_1D = kernels.slice(x_TD, 0, tokens.length - 1, 1);
    return cast(kernels.matmul(last_1D, model.head?.value as tf.Tensor, 'nt'), 'float32');
  });
  const values = await logits_1V.data();
  tf.dispose([tokens_1T, x_TD, logits_1V]);
  return Float32Array.from(values);
}

/** What a row wanted of all its logits. */
export function chosenOf(values: Float32Array, wanted: Exclude<Row['wanted'], 'nothing'>): Logits {
  const largest = values.reduce((a, b) => Math.max(a, b));
  const logSumExp = largest + Math.log(values.reduce((sum, value) => sum + Math.exp(value - largest), 0));
  if (wanted === 'all') return { values, logSumExp };
  const order = (a: number, b: number): number => (values[b] as number) - (values[a] as number) || a - b;
  const ids = Int32Array.from([...values.keys()].sort(order).slice(0, wanted));
  return { ids, values: Float32Array.from(ids, (id) => values[id] as number), logSumExp };
}
