import { createCache } from '@fourfold/ops';
import { openBackend } from '@fourfold/runtime';
import { beforeAll, expect, test } from 'vitest';
import { chooseOptions } from '../src/load.ts';
import { memoryOf } from '../src/memory.ts';
import { bytesOfShare, shareOf } from '../src/slices.ts';
import { TINY_WIDE, tinyModel } from './tiny.ts';

beforeAll(async () => {
  await openBackend({ device: 'cpu', threads: 1 });
});

test.each(['f32', 'bf16', 'q80'] as const)('caches of %s take what the kernel’s take, on each rank', (kvCache) => {
  const model = tinyModel(TINY_WIDE, 'q80');
  const options = chooseOptions(model, { slots: 3, maxSeqLength: 32, kvCache });
  const memory = memoryOf(model, options, 2);
  for (const [rank, { weights, caches }] of memory.entries()) {
    const cache = createCache({ slots: 3, positions: 32, kvHeads: 1, headDim: TINY_WIDE.headDim, format: kvCache });
    expect(caches).toBe(TINY_WIDE.layers * cache.bytes);
    expect(weights).toBe(bytesOfShare(model, shareOf(TINY_WIDE, rank, 2, true)));
    cache.dispose();
  }
});
