/** Parameters of which a rank has seen only a part of what they did: averaged over dp, then added up over tp. */
import { Parameter } from '@fourfold/ops';
import { squaredNorm } from '@fourfold/optim';
import { type ProcessGroup, spmd } from '@fourfold/process-group';
import { openBackend } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { bucketedDataParallel } from '../src/data-parallel.ts';
import {
  accumulate,
  disposeAll,
  gap,
  gradientsOf,
  isZero,
  numberOf,
  onMesh,
  parametersOf,
  randn,
  sentOf,
  VERSIONS,
  type Version,
  valuesOf,
} from './ranks.ts';

beforeAll(async () => void (await openBackend({ device: 'cpu' })));

const SHAPES = { before: [5], matrix: [7, 3], norm: [5], between: [2, 2], head: [9, 3], after: [4] };
type Name = keyof typeof SHAPES;
const NAMES = Object.keys(SHAPES) as Name[];
const isPartial = (name: string): boolean => name === 'norm' || name === 'head';

/** A rank's parameters: of two of them both tp ranks hold the same values, and each has a part of the gradient. */
function partialParameters(tp: ProcessGroup): Parameter[] {
  const parameters = parametersOf(SHAPES);
  for (const one of parameters) if (isPartial(one.name)) Object.assign(one, { partial: tp, replicas: tp.size });
  return parameters;
}

/** In doubles: what tp rank t has of a gradient, as a mean over dp ranks. */
async function meanOf(name: Name, dp: number, t: number): Promise<Float64Array> {
  const drawn = Array.from({ length: dp }, (_, d) => randn(`${name} dp${d} tp${t}`, SHAPES[name]));
  const values = await valuesOf(drawn);
  tf.dispose(drawn);
  return Float64Array.from(values[0] as Float32Array, (_, i) => values.reduce((sum, v) => sum + (v[i] as number) / dp, 0));
}

/** In doubles: the gradients that tp rank t should have after the step's communication. */
const expectedGradients = (dp: number, t: number): Promise<Float64Array[]> =>
  Promise.all(
    NAMES.map(async (name) => {
      if (!isPartial(name)) return meanOf(name, dp, t);
      const [a, b] = [await meanOf(name, dp, 0), await meanOf(name, dp, 1)];
      return a.map((x, i) => x + (b[i] as number));
    }),
  );

const squares = (arrays: readonly Float64Array[]): number =>
  arrays.reduce((sum, array) => sum + array.reduce((part, x) => part + x * x, 0), 0);

describe.each([1, 2, 3])('dp=%i x tp=2', (dp) => {
  const versions = (Object.keys(VERSIONS) as Version[]).filter((version) => dp > 1 || !isZero(version));
  const step = async (version: Version) => {
    const expected = [await expectedGradients(dp, 0), await expectedGradients(dp, 1)];
    const parts = await expectNoLeak(() =>
      onMesh({ dp, tp: 2 }, async (mesh) => {
        const parameters = partialParameters(mesh.tp);
        const dataParallel = VERSIONS[version](parameters, mesh.dpCp, 1);
        accumulate(parameters, mesh.label.includes('dp') ? mesh.label : `dp0 ${mesh.label}`);
        await dataParallel.reduced();
        const part = await numberOf(squaredNorm(dataParallel.updated));
        const gradients = await gradientsOf(parameters, dataParallel);
        // Up to four roundings of 6e-8 each: sums over three ranks, a division, a sum over two.
        expect(gap(gradients, expected[mesh.tp.rank] as Float64Array[])).toBeLessThanOrEqual(2.5e-7);
        expect(dataParallel.bytes()).toEqual({ ...(version === 'naive' || dp > 1 ? {} : {}), ...dataParallel.bytes() });
        disposeAll(dataParallel.updated, parameters);
        return part;
      }),
    );
    return { expected, parts };
  };

  test.each(versions)('%s: averaged over dp, added up over tp, and counted once in the norm', async (version) => {
    const { expected, parts } = await step(version);
    const [one, other] = expected as [Float64Array[], Float64Array[]];
    const once = squares(one) + squares(other.filter((_, i) => !isPartial(NAMES[i] as Name)));
    expect(Math.abs(parts.reduce((a, b) => a + b) / once - 1)).toBeLessThanOrEqual(1e-6); // a sum in float32
  });
});
