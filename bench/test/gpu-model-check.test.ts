import { type Fixture, readFixture } from '@fourfold/model/fixtures';
import { memory, openBackend } from '@fourfold/runtime';
import { beforeAll, expect, test } from 'vitest';
import { checkModel, checkModels } from '../src/gpu-model-check.ts';

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

/** The fixture with one number of one gradient off by a tenth of the largest. */
function offByOne(fixture: Fixture): Fixture {
  const gradients = new Map(fixture.gradients);
  const [name, { shape, data }] = [...gradients][3] as [string, { shape: number[]; data: Float32Array }];
  const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  gradients.set(name, { shape, data: data.map((value, i) => (i === 5 ? value + largest / 10 : value)) });
  return { ...fixture, gradients };
}

test.each(['float32', 'bfloat16'] as const)('one number that is off is found, in %s', async (dtype) => {
  const fixture = await readFixture('mqa');
  const { line, good } = await checkModel('mqa', offByOne(fixture), dtype);
  expect(good).toBe(false);
  expect(line).toMatch(/^FAIL mqa, .* gradients \d\.\de-[12] /);
  const [first = 0, ...rest] = fixture.losses;
  expect((await checkModel('mqa', { ...fixture, losses: [first * 1.02, ...rest] }, dtype)).good).toBe(false);
});

test('a parameter without a reference is an error', async () => {
  const fixture = await readFixture('mqa');
  const gradients = new Map([...fixture.gradients].slice(1));
  await expect(checkModel('mqa', { ...fixture, gradients }, 'float32')).rejects.toThrow(
    /^the reference has gradients of/,
  );
});
