/** What ranks hold, put together, is the model. */
import { packedProduct } from '@fourfold/ops';
import { read } from '@fourfold/runtime';
import { expectNoLeak, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { shareOf } from '../src/slices.ts';
import { type FeedForward, type LayerWeights, loadShare, type RoutedExperts } from '../src/weights.ts';
import { TINY, TINY_EXPERTS, tinyModel, valuesOf } from './tiny.ts';

beforeAll(() => useBackend('cpu'));

/** A packed matrix's numbers, column by column: its products with the unit vectors. */
async function columnsOf(packed: FeedForward['down']): Promise<number[]> {
  const unit_II = tf.eye(packed.columns);
  const w_IO = packedProduct(unit_II, packed, { activations: 'float32' });
  const values = [...(await read(w_IO))];
  tf.dispose([unit_II, w_IO]);
  return values;
}

test.each(['f32', 'bf16', 'q40', 'q80'] as const)('down in %s: ranks hold its columns end to end', async (format) => {
  await expectNoLeak(async () => {
    const model = tinyModel(TINY, format);
    const whole = loadShare(model, shareOf(TINY, 0, 1, true));
    const parts = [0, 1, 2].map((rank) => loadShare(model, shareOf(TINY, rank, 3, true)));
    const of = async ({ layers }: typeof whole) =>
      columnsOf(((layers[1] as LayerWeights).feedForward as FeedForward).down);
    const joined: number[] = [];
    for (const part of parts) joined.push(...(await of(part)));
    expect(joined).toEqual(await of(whole));
    const values = valuesOf(model, 'model.layers.1.mlp.down_proj.weight');
    expect(joined[3 * 64 + 5]).toBe(values[5 * 128 + 3]); // column 3, row 5
    for (const each of [whole, ...parts]) each.dispose();
  });
});

test('q, k and v are one matrix: rows of the rank’s heads, then those of the heads that they read', async () => {
  const model = tinyModel();
  const share = shareOf(TINY, 1, 4, false); // head 2 of 6: the last that reads kv 0
  expect([share.heads, share.kvHeads, share.headOffset]).toEqual([[2, 3], [0, 1], 2]);
  const weights = loadShare(model, share);
  const { qkv } = weights.layers[0] as LayerWeights;
  expect([qkv.rows, qkv.columns]).toEqual([3 * 32, 64]);
  const columns = await columnsOf(qkv);
  const first = ['q', 'k', 'v'].map((which) => valuesOf(model, `model.layers.0.self_attn.${which}_proj.weight`));
  expect(columns.slice(0, 32)).toEqual(Array.from({ length: 32 }, (_, row) => first[0]?.[(64 + row) * 64]));
  expect(columns.slice(32, 64)).toEqual(Array.from({ length: 32 }, (_, row) => first[1]?.[row * 64]));
  expect(columns.slice(64, 96)).toEqual(Array.from({ length: 32 }, (_, row) => first[2]?.[row * 64]));
  weights.dispose();
});

test('experts are matrices one behind the other, each of this rank’s columns; the router is whole', () => {
  const model = tinyModel(TINY_EXPERTS, 'q80');
  const weights = loadShare(model, shareOf(TINY_EXPERTS, 0, 2, true));
  const { router, up_E2FD, down_EDF } = (weights.layers[0] as LayerWeights).feedForward as RoutedExperts;
  expect([router.rows, router.format]).toEqual([4, 'f32']);
  expect([up_E2FD.matrices, up_E2FD.rows, up_E2FD.columns]).toEqual([4, 2 * 64, 64]);
  expect([down_EDF.matrices, down_EDF.rows, down_EDF.columns]).toEqual([4, 64, 64]);
  weights.dispose();
});

test('weights can be converted as they are loaded, norms and routers excepted', () => {
  const weights = loadShare(tinyModel(TINY_EXPERTS, 'bf16'), shareOf(TINY_EXPERTS, 0, 1, true), 'q40');
  const { feedForward, qkv, qkNorm } = weights.layers[0] as LayerWeights;
  const { router, up_E2FD } = feedForward as RoutedExperts;
  expect([qkv.format, up_E2FD.format, weights.head.format, router.format]).toEqual(['q40', 'q40', 'q40', 'f32']);
  expect(qkNorm?.q_K.dtype).toBe('float32');
  weights.dispose();
});

test('a matrix that can’t be read leaves nothing behind', async () => {
  const model = tinyModel();
  const broken = { ...model, read: (name: string) => (name.includes('layers.1') ? fail() : model.read(name)) };
  const fail = (): never => {
    throw new Error('the disk is gone');
  };
  await expectNoLeak(async () => {
    expect(() => loadShare(broken, shareOf(TINY, 0, 1, false))).toThrow('the disk is gone');
  });
});
