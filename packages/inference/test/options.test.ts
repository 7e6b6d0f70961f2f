import { readConfig } from '@fourfold/cli';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { modelFlags, ranksFrom } from '../src/options.ts';

const read = (...argv: string[]) => readConfig({ name: 'x', usage: '', schema: z.object(modelFlags), argv });

test('without a flag it is the small model, as it is stored, on one rank', () => {
  const flags = read();
  expect(flags).toMatchObject({ model: 'smollm2-135m', workers: [], local: 1, kvCache: 'f32', bufferFloatType: 'f32' });
  expect([flags.weights, flags.activations, flags.maxSeqLen]).toEqual([undefined, undefined, undefined]);
});

test("distributed-llama's spellings work, and transfers have the names that ranks give them", () => {
  const flags = read('--max-seq-len', '64', '--buffer-float-type', 'q80', '--workers', 'a:9990,b:9990');
  expect(flags.maxSeqLen).toBe(64);
  expect(ranksFrom(flags)).toMatchObject({ workers: ['a:9990', 'b:9990'], transfers: 'q80', timeoutMs: 30_000 });
  expect(ranksFrom(read()).transfers).toBe('float32');
});

test('a format that there is not is a sentence', () => {
  expect(() => read('--weights', 'q2')).toThrow('--weights q2: use one of f32, bf16, q40, q41, q80');
});
