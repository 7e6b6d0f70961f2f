/** Every model of the fixtures gives PyTorch's numbers, in float32 and in bfloat16. */
import { memory, openBackend } from '@fourfold/runtime';
import { beforeAll, expect, test } from 'vitest';
import { checkModels } from '../src/gpu-model-check.ts';

beforeAll(async () => void (await openBackend({ device: 'cpu' })));

test('every model is as its reference, in both dtypes, and leaves nothing behind', async () => {
  const { tensors, bytes } = memory();
  const lines: string[] = [];
  const results = await checkModels((line) => lines.push(line));
  expect(results).toEqual(Array(12).fill(true));
  expect(memory()).toMatchObject({ tensors, bytes });
  expect(lines[0]).toBe("\nmodels against PyTorch's numbers: largest difference (bound)");
  const names = ['gqa', 'mqa', 'tied', 'llama3'].flatMap((name) => [
    ...[`${name}, float32`, `${name}, bfloat16`, `${name}, bfloat16, gradients too`],
  ]);
  expect(lines.slice(1).map((line) => /^ok {3}(\w+, \w+(?:, gradients too)?) /.exec(line)?.[1])).toEqual(names);
  expect(lines[1]).toMatch(
    /logits \S+ \(1e-5\) {3}loss \S+ \(1e-6\) {3}gradients \S+ \(2e-6\) {3}losses \S+ \(1e-6\)$/,
  );
  expect(lines[2]).toMatch(
    /logits \S+ \(2\^-5\) {3}loss \S+ \(2\^-9\) {3}gradients \S+ \(2\^-4\) {3}losses \S+ \(2\^-7\)$/,
  );
});
