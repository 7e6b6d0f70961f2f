import { expect, test } from 'vitest';
import { inferenceBytes } from '../src/cluster/traffic.ts';
import type { ModelShape } from '../src/shape.ts';
import { TINY_WIDE } from './tiny.ts';

const LLAMA_3_8B: ModelShape = {
  ...TINY_WIDE,
  ...{ layers: 32, dim: 4096, heads: 32, kvHeads: 8, headDim: 128, ffn: 14336, vocabulary: 128256, tied: false },
};

test("a token of Llama 3 8B's shape takes fewer bytes than distributed-llama's published table, all included", () => {
  const row = { token: 1, slot: 0, position: 9, wanted: 1 } as const;
  const embeddingBytes = (4096 / 32) * 18;
  for (const [ranks, published] of [
    [2, 544],
    [4, 1632],
    [8, 3808],
  ] as const) {
    const options = { shape: LLAMA_3_8B, rows: [row], ranks, transfers: 'q80', embeddingBytes } as const;
    const { sent, received } = inferenceBytes(options);
    expect(sent).toBe((ranks - 1) * (64 * 33 * 128 + 5 + 16 + 2304));
    expect(received).toBe((ranks - 1) * (64 * 33 * 128 + 12));
    expect((sent + received) / 1024).toBeLessThan(published);
  }
});
