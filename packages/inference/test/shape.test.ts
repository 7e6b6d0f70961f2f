/** The names and sides of tensors, against the parameter counts of published models. */
import { expect, test } from 'vitest';
import { expertPlaces, GROK_1, type ModelShape, tensorShapes } from '../src/shape.ts';

const count = (shape: ModelShape): number =>
  [...tensorShapes(shape).values()].reduce((sum, sides) => sum + sides.reduce((product, side) => product * side, 1), 0);

const common = { theta: 1e6, normEpsilon: 1e-6, maxPositions: 32768 };

test('Mixtral 8x7B has 46.7 billion weights: half the bytes that its index of bfloat16 files says', () => {
  const shape: ModelShape = {
    ...common,
    ...{ architecture: 'mixtral', layers: 32, dim: 4096, heads: 32, kvHeads: 8, headDim: 128, ffn: 14336 },
    ...{ vocabulary: 32000, tied: false, qkNorm: false, experts: { count: 8, active: 2, normalized: true } },
  };
  expect(count(shape)).toBe(93_405_585_408 / 2);
});

test('Qwen3-0.6B has 596,049,920 weights', () => {
  const shape: ModelShape = {
    ...common,
    ...{ architecture: 'qwen3', layers: 28, dim: 1024, heads: 16, kvHeads: 8, headDim: 128, ffn: 3072 },
    ...{ vocabulary: 151936, tied: true, qkNorm: true },
  };
  expect(count(shape)).toBe(596_049_920);
});

test('Qwen3-30B-A3B has 30,532,122,624 weights', () => {
  const shape: ModelShape = {
    ...common,
    ...{ architecture: 'qwen3_moe', layers: 48, dim: 2048, heads: 32, kvHeads: 4, headDim: 128, ffn: 768 },
    ...{ vocabulary: 151936, tied: false, qkNorm: true, experts: { count: 128, active: 8, normalized: true } },
  };
  expect(count(shape)).toBe(30_532_122_624);
});

test('Grok-1 is within a hundredth of the 314 billion weights that xAI says; a token meets 2 experts of 8', () => {
  const { layers, dim, ffn } = GROK_1;
  expect(Math.abs(count(GROK_1) / 314e9 - 1)).toBeLessThan(0.01);
  expect(Math.round((count(GROK_1) - 6 * layers * 3 * dim * ffn) / 1e9)).toBe(84);
});

test('experts are numbered from 0', () => {
  expect(expertPlaces(2)).toEqual(['mlp.experts.0', 'mlp.experts.1']);
  expect(tensorShapes({ ...GROK_1, layers: 1 }).get('model.layers.0.mlp.experts.7.down_proj.weight')).toEqual([
    6144, 32768,
  ]);
});
