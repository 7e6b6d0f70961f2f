import fc from 'fast-check';
import { expect, test } from 'vitest';
import { keptOfBlock, type TrainingSize, trainingBytes } from '../src/memory-estimate.ts';

const tiny: TrainingSize = {
  ...{ parameters: 1000, layers: 2, dim: 8, heads: 2, kvHeads: 1, headDim: 4, ffn: 16, vocabulary: 10 },
  ...{ batch: 1, seqLength: 4, precision: 'float32', recompute: 'none' },
};

// 4 tokens. Attention keeps, a token, a normalized vector, its length, the scaled one, 2 (2 + 1) heads of 4, and two
// lengths of softmaxes. SwiGLU keeps a norm too and five vectors of 16.
const attention = 4 * (4 * 8 + 4 + 4 * 8 + 4 * 6 * 4 + 4 * 2);
const mlp = 4 * (4 * 8 + 4 + 4 * 8 + 4 * 5 * 16);
const block = attention + mlp;
const stream = 4 * (4 * 8 * 4);

test('a float32 step, by hand: 16 bytes a parameter, two blocks, and seven vectors in SwiGLU', () => {
  expect(block).toBe(688 + 1552);
  const twice = { ...tiny, seqLength: 8 };
  expect(trainingBytes(twice)).toBe(16 * 1000 + 2 * (2 * block) + 7 * (8 * 16 * 4) + 2 * stream);
});

test('with few tokens a gradient has the peak: that of gate and up, and its sum with the one before', () => {
  expect(trainingBytes(tiny)).toBe(16 * 1000 + 2 * block + 2 * (32 * 8 * 4) + stream);
  const heads = { ...tiny, heads: 8, headDim: 8, seqLength: 1 }; // q, k and v have (8 + 2) x 8 rows, gate and up 32
  const kept = 4 * 8 + 4 + 4 * 8 + 4 * 18 * 8 + 4 * 8 + mlp / 4;
  expect(trainingBytes(heads)).toBe(16 * 1000 + 2 * kept + 2 * (80 * 8 * 4) + stream / 4);
});

test('with recomputation the inputs of two blocks, and one block', () => {
  expect(trainingBytes({ ...tiny, seqLength: 8, recompute: 'block' })).toBe(
    16 * 1000 + 2 * (8 * 8 * 4) + 2 * block + 7 * (8 * 16 * 4) + 2 * stream,
  );
});

test('selectively, all but two normalized vectors and what SwiGLU gives; in backward one block has these too', () => {
  const kept = 4 * (4 * 8 + 4 * 6 * 4 + 4 * 2) + 4 * (4 * 8 + 4 * 2 * 16);
  expect(keptOfBlock({ ...tiny, recompute: 'selective' })).toBe(kept);
  expect(keptOfBlock({ ...tiny, recompute: 'selective', fused: true })).toBe(kept);
  expect(keptOfBlock({ ...tiny, recompute: 'block' })).toBe(4 * 8 * 4);
  const twice = { ...tiny, seqLength: 8 } as const;
  expect(trainingBytes({ ...twice, recompute: 'selective' })).toBe(
    16 * 1000 + 2 * kept + 2 * block + 7 * (8 * 16 * 4) + 2 * stream,
  );
});

test('fused, a block of bfloat16 keeps bfloat16 alone; token ranks share its norms', () => {
  const size = { ...tiny, precision: 'bfloat16', fused: true } as const;
  const parts = 4 * (2 * 6 * 4 + 4 * 2 + 2 * 3 * 16);
  expect(keptOfBlock(size)).toBe(2 * 4 * (2 * 2 * 8 + 4) + parts);
  expect(keptOfBlock({ ...size, tokenRanks: 4 })).toBe(2 * (2 * 2 * 8 + 4) + parts);
});

test('a bfloat16 step: 18 bytes a parameter, half of each vector but the normalized ones; the peak at the head', () => {
  const narrow = 4 * (4 * 8 + 4 + 2 * 8 + 2 * 6 * 4 + 4 * 2) + 4 * (4 * 8 + 4 + 2 * 8 + 2 * 5 * 16);
  const gradient = 4 * 30 * 8; // three of these are more than one and 2.5 chunks of 4 x 30 logits
  const size: TrainingSize = { ...tiny, precision: 'bfloat16', vocabulary: 30 };
  expect(trainingBytes(size)).toBe(18 * 1000 + 2 * narrow + 3 * gradient + stream / 2);
});

test('what AdamW keeps: bfloat16 moments take half, and bfloat16 weights need no masters', () => {
  const saved = (size: TrainingSize, change: Partial<TrainingSize>) =>
    trainingBytes(size) - trainingBytes({ ...size, ...change });
  const narrow: TrainingSize = { ...tiny, precision: 'bfloat16' };
  expect(saved(tiny, { moments: 'bfloat16' })).toBe(4 * 1000);
  expect(saved(tiny, { masterWeights: false })).toBe(0);
  expect(saved(narrow, { moments: 'bfloat16' })).toBe(4 * 1000);
  expect(saved(narrow, { masterWeights: false })).toBe(4 * 1000);
});

test('with a long sequence attention has the peak: four times its scores, the mask, eleven vectors', () => {
  const tokens = 1000;
  const scores = 4 * 2 * tokens * tokens;
  const longBlock = (tokens / 4) * block;
  const moment = (tokens / 4) * attention + 4 * scores + scores / 2 + 11 * (tokens * 2 * 4 * 4);
  expect(trainingBytes({ ...tiny, seqLength: tokens })).toBe(16 * 1000 + longBlock + moment + 250 * stream);
});

test('scores over 64 MiB go in parts: one token more, and the step takes less', () => {
  const deep = { ...tiny, heads: 4, seqLength: 2048 };
  const saved = trainingBytes(deep) - trainingBytes({ ...deep, seqLength: 2049 });
  expect(saved / (2 * 64 * 2 ** 20)).toBeGreaterThan(0.9); // half of four matrices
});

test('logits go in chunks of at most 64 MiB: ten times the tokens, and the head takes no more', () => {
  const wide = { ...tiny, vocabulary: 1000, seqLength: 1, batch: 16384 }; // 62.5 MiB of logits
  const more = { ...wide, batch: 163840 };
  const perToken = (2 * block + stream) / 4;
  const logits = trainingBytes(more) - trainingBytes(wide) - (163840 - 16384) * perToken;
  expect(logits).toBe(0);
});

const RECOMPUTE = ['none', 'selective', 'block'] as const;

// Shapes whose scores and logits stay under 64 MiB, also with one argument doubled.
const sizes = fc.record({
  parameters: fc.integer({ min: 1, max: 1e9 }),
  layers: fc.integer({ min: 2, max: 40 }),
  dim: fc.integer({ min: 32, max: 1024 }),
  heads: fc.integer({ min: 1, max: 16 }),
  kvHeads: fc.integer({ min: 1, max: 16 }),
  headDim: fc.integer({ min: 16, max: 128 }),
  ffn: fc.integer({ min: 64, max: 4096 }),
  vocabulary: fc.integer({ min: 2, max: 8000 }),
  batch: fc.integer({ min: 1, max: 8 }),
  seqLength: fc.integer({ min: 1, max: 100 }),
  precision: fc.constantFrom('float32' as const, 'bfloat16' as const),
  recompute: fc.constantFrom(...RECOMPUTE),
});

test('more of anything never takes less', () => {
  const keys = [
    'parameters',
    'layers',
    'dim',
    'heads',
    'kvHeads',
    'headDim',
    'ffn',
    'vocabulary',
    'batch',
    'seqLength',
  ];
  fc.assert(
    fc.property(
      sizes,
      fc.constantFrom(...(keys as Exclude<keyof TrainingSize, 'fused' | 'gradients' | 'moments' | 'masterWeights'>[])),
      fc.double({ min: 1, max: 2, noNaN: true }),
      (size, key, by) => {
        const larger = { ...size, [key]: Math.ceil(Number(size[key]) * by) };
        expect(trainingBytes(larger)).toBeGreaterThanOrEqual(trainingBytes(size));
      },
    ),
  );
});

test('gradients in bfloat16 take two bytes a parameter less', () => {
  const wide = { ...tiny, parameters: 1e6, precision: 'bfloat16' as const };
  expect(trainingBytes(wide) - trainingBytes({ ...wide, gradients: 'bfloat16' })).toBeGreaterThanOrEqual(2e6);
});

test('recomputation takes less', () => {
  fc.assert(
    fc.property(sizes, (size) => {
      const [none, selective, block] = RECOMPUTE.map((recompute) => trainingBytes({ ...size, recompute }));
      expect(selective).toBeLessThan(none as number);
      expect(block).toBeLessThan(none as number);
    }),
  );
});

test('bfloat16 without masters takes less where blocks keep their activations', () => {
  fc.assert(
    fc.property(sizes, (size) => {
      const kept = { ...size, recompute: 'none' as const, layers: 12, vocabulary: 256, masterWeights: false };
      const bytes = (precision: TrainingSize['precision']) => trainingBytes({ ...kept, precision });
      expect(bytes('bfloat16')).toBeLessThan(bytes('float32'));
    }),
  );
});
