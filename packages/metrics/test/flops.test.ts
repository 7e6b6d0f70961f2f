import { expect, test } from 'vitest';
import { flopsPerToken, mfuOf, peakBandwidth, peakFlops } from '../src/flops.ts';

// SmolLM-1.7B by its published configuration.
const smolLM = { parameters: 1_711_376_384, layers: 24, dim: 2048, seqLength: 2048 };

test("a token's operations are those of a count by hand", () => {
  expect(flopsPerToken(smolLM)).toBe(6 * 1_711_376_384 + 12 * 24 * 2048 * 2048);
});

test('39.6k tokens a second of SmolLM-1.7B on an H100 are 46% of its peak', () => {
  const peak = peakFlops('NVIDIA H100 80GB HBM3', 'bfloat16');
  expect(peak).toBe(989.5e12);
  expect(mfuOf(39_600, smolLM, peak)).toBeCloseTo(0.46, 2);
});

test('where the peak is not known there is no utilization', () => {
  expect(peakFlops('Intel(R) Xeon(R)', 'float32')).toBeUndefined();
  expect(mfuOf(39_600, smolLM, undefined)).toBeUndefined();
});

test.each([
  ['NVIDIA H100 PCIe', 756.5e12],
  ['NVIDIA H200', 989.5e12],
  ['NVIDIA H200 NVL', 835.5e12],
  ['NVIDIA A100-SXM4-80GB', 312e12],
  ['NVIDIA A100 80GB PCIe', 312e12],
  ['NVIDIA L40S', 362.05e12],
  ['NVIDIA L4', 121e12],
  ['NVIDIA GeForce RTX 4090', 165.2e12],
])('%s does %s bfloat16 operations a second', (name, peak) => {
  expect(peakFlops(name, 'bfloat16')).toBe(peak);
});

test.each([
  'NVIDIA GeForce RTX 4090 Laptop GPU',
  'NVIDIA GeForce RTX 4090 D',
  'NVIDIA L40',
  'NVIDIA H100 NVL',
  'Tesla T4',
  'Tesla V100-SXM2-16GB',
])('%s has no bfloat16 figure: another device, or none in its data sheet', (name) => {
  expect(peakFlops(name, 'bfloat16')).toBeUndefined();
});

test.each([
  ['NVIDIA H100 80GB HBM3', 3.35e12],
  ['NVIDIA H200', 4.8e12],
  ['NVIDIA A100-SXM4-80GB', 2.039e12],
  ['NVIDIA A100 80GB PCIe', 1.935e12],
  ['NVIDIA A100-SXM4-40GB', 1.555e12],
  ['Intel(R) Xeon(R)', undefined],
])('%s moves %s bytes a second', (name, bandwidth) => {
  expect(peakBandwidth(name)).toBe(bandwidth);
});
