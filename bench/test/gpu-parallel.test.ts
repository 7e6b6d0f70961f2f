import { Parameter } from '@fourfold/ops';
import { keyOf, normals, openBackend, read } from '@fourfold/runtime';
import { stockKernels } from '@fourfold/runtime/tensorflow';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { relative, sameBits, worstOf } from '../src/difference.ts';
import type { Case } from '../src/gpu-check.ts';
import { PARALLEL_CASES } from '../src/gpu-parallel.ts';

beforeAll(async () => void (await openBackend({ device: 'cpu' })));

const random = (name: string, shape: readonly number[]): Tensor =>
  tf.tensor(normals(keyOf(1, name), 0, tf.util.sizeFromShape([...shape]), 1), [...shape]);

/** All that a layer gives. */
async function run({ inputs, weights = [], layer }: Case): Promise<Float32Array[]> {
  const xs = inputs.map((shape, i) => random(`x${i}`, shape));
  const parameters = weights.map((shape, i) => Parameter.of(`w${i}`, random(`w${i}`, shape)));
  const [ys, pull] = await layer(parameters)(xs);
  const dys = ys.map((y, i) => random(`dy${i}`, y.shape));
  const dxs = await pull(dys);
  const results = [...ys, ...dxs, ...parameters.map(({ grad }) => grad as Tensor)];
  const numbers = await Promise.all(results.map(async (x) => Float32Array.from(await read(x))));
  tf.dispose([...xs, ...ys, ...dys, ...dxs]);
  for (const parameter of parameters) parameter.dispose();
  return numbers;
}

test.each(PARALLEL_CASES.map((one) => [one.name, one] as const))(
  'on the CPU the fused ops compute what the stock kernels do, within its bound: %s',
  async (_, one) => {
    await expectNoLeak(async () => {
      const [fused, stock] = [await run(one), await stockKernels(() => run(one))];
      expect(fused.map(({ length }) => length)).toEqual(stock.map(({ length }) => length));
      expect(worstOf(fused, stock, relative)).toBeLessThanOrEqual(one.float32);
      expect(fused.every((numbers) => numbers.some((x) => x !== 0))).toBe(true);
      expect(sameBits(fused, await run(one))).toBe(true);
    });
  },
);
