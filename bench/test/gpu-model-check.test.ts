import { type Fixture, readFixture } from '@fourfold/model/fixtures';
import { openBackend } from '@fourfold/runtime';
import { beforeAll, expect, test } from 'vitest';
import { checkModel } from '../src/gpu-model-check.ts';

beforeAll(async () => void (await openBackend({ device: 'cpu' })));

/** The fixture with one number of one gradient off by a tenth of the largest. */
function offByOne(fixture: Fixture): Fixture {
  const gradients = new Map(fixture.gradients);
  const [name, { shape, data }] = [...gradients][3] as [string, { shape: number[]; data: Float32Array }];
  const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  gradients.set(name, { shape, data: data.map((value, i) => (i === 5 ? value + largest / 10 : value)) });
  return { ...fixture, gradients };
}

test.each(['float32', 'bfloat16'] as const)(
  'a model is as its reference, and one number that is off is found, in %s',
  async (dtype) => {
    const fixture = await readFixture('mqa');
    expect(await checkModel('mqa', fixture, dtype)).toMatchObject({
      line: expect.stringMatching(/^ok {3}mqa, /),
      good: true,
    });
    const { line, good } = await checkModel('mqa', offByOne(fixture), dtype);
    expect(good).toBe(false);
    expect(line).toMatch(/^FAIL mqa, .* gradients \d\.\de-[12] /);
    const [first = 0, ...rest] = fixture.losses;
    expect((await checkModel('mqa', { ...fixture, losses: [first * 1.02, ...rest] }, dtype)).good).toBe(false);
  },
);

test('a parameter without a reference is an error', async () => {
  const fixture = await readFixture('mqa');
  const gradients = new Map([...fixture.gradients].slice(1));
  await expect(checkModel('mqa', { ...fixture, gradients }, 'float32')).rejects.toThrow(
    /^the reference has gradients of/,
  );
});
