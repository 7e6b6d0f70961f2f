import { dequantize } from '@fourfold/ops';
import { expect, test } from 'vitest';
import { randomModel } from '../src/cluster/random-model.ts';
import { bytesOf } from '../src/stored.ts';
import { TINY_WIDE } from './tiny.ts';

test('weights of every format are small, vary, and are as many as asked for', () => {
  for (const format of ['f32', 'bf16', 'q40', 'q41', 'q80'] as const) {
    const bytes = randomModel(TINY_WIDE, format).read('model.layers.1.mlp.down_proj.weight', { columns: [64, 192] });
    expect(bytes.length).toBe(bytesOf(format, TINY_WIDE.dim * 128));
    const values = dequantize(format, bytes);
    expect(new Set(values).size).toBeGreaterThan(10);
    expect(values.every((value) => Math.abs(value) < 0.05)).toBe(true);
  }
});
