import { MODELS } from '@fourfold/model';
import { type DType, memory, openBackend } from '@fourfold/runtime';
import { beforeAll, expect, test } from 'vitest';
import { type Shape, trainingStep } from '../src/step.ts';

beforeAll(() => openBackend({ device: 'cpu' }));

const config = { ...MODELS['nano'], vocabulary: 50 } as Shape['config'];
const tiny: Shape = { name: 'tiny', config, batch: 2, seq: 16 };

async function losses(dtype: DType, steps: number): Promise<number[]> {
  const step = trainingStep(tiny, dtype);
  const values: number[] = [];
  for (let i = 0; i < steps; i++) values.push(await step());
  return values;
}

test.each(['float32', 'bfloat16'] as const)('in %s it learns its batch, a little at each step', async (dtype) => {
  const [first = 0, ...rest] = await losses(dtype, 30);
  expect(Math.abs(first - Math.log(50))).toBeLessThan(0.1); // it knows nothing yet
  expect(rest.at(-1)).toBeLessThan(first - 0.5);
});

test('every loss is below the one before', async () => {
  const values = await losses('float32', 10);
  expect(values).toEqual(values.toSorted((a, b) => b - a));
});

test('it begins the same each time', async () => {
  expect(await losses('float32', 3)).toEqual(await losses('float32', 3));
});

test('a step leaves no tensor and no byte behind', async () => {
  const step = trainingStep(tiny, 'float32');
  await step(); // the first puts the weights into the optimizer
  const { tensors, bytes } = memory();
  for (let i = 0; i < 3; i++) await step();
  expect(memory()).toMatchObject({ tensors, bytes });
});
