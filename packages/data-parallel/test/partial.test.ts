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
  return Float64Array.from(values[0] as Float32Array, (_, i) =>
    values.reduce((sum, v) => sum + (v[i] as number) / dp, 0),
  );
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
  test.each(versions)('%s: averaged over dp, added up over tp, and counted once in the norm', async (version) => {
    const expected = [await expectedGradients(dp, 0), await expectedGradients(dp, 1)] as const;
    const parts = await expectNoLeak(() =>
      onMesh({ dp, tp: 2 }, async (mesh) => {
        const parameters = partialParameters(mesh.tp);
        const dataParallel = VERSIONS[version](parameters, mesh.dpCp, 1);
        accumulate(parameters, `dp${mesh.dp.rank} tp${mesh.tp.rank}`);
        await dataParallel.reduced();
        const part = await numberOf(squaredNorm(dataParallel.updated));
        const gradients = await gradientsOf(parameters, dataParallel);
        // A few roundings of 6e-8 each: a sum over three ranks, a division, a sum over two.
        expect(gap(gradients, expected[mesh.tp.rank] as Float64Array[])).toBeLessThanOrEqual(2.5e-7);
        disposeAll(dataParallel.updated, parameters);
        return part;
      }),
    );
    const once = squares(expected[0]) + squares(expected[1].filter((_, i) => !isPartial(NAMES[i] as Name)));
    expect(Math.abs(parts.reduce((a, b) => a + b) / once - 1)).toBeLessThanOrEqual(1e-6); // a sum in float32
  });
});

// ## What travels

const elements = (names: readonly Name[]): number =>
  names.reduce((sum, name) => sum + SHAPES[name].reduce((product, side) => product * side, 1), 0);

test.each(Object.keys(VERSIONS) as Version[])('%s: bytes() is what each group counts, to the byte', async (version) => {
  const sent = await onMesh({ dp: 3, tp: 2 }, async ({ world, tp, dpCp }) => {
    const parameters = partialParameters(tp);
    const { updated, reduced, gathered, bytes } = VERSIONS[version](parameters, dpCp, 1);
    accumulate(parameters, '');
    await reduced();
    await gathered();
    expect(bytes()).toEqual(sentOf(world));
    disposeAll(updated, parameters);
    return bytes();
  });
  // An all-reduce of x among n ranks costs all of them together 2 (n-1) x. With ZeRO a rank adds up its part of partial
  // gradients alone, a third; and buckets are padded to a multiple of 3, so that it may send a little more.
  const together = (group: string) => sent.reduce((sum, one) => sum + (one[group] as number), 0);
  const copies = isZero(version) ? 1 : 3; // dp ranks that all add up the same
  const least = { dpCp: 2 * 2 * 2 * 4 * elements(NAMES), tp: copies * 2 * 4 * elements(NAMES.filter(isPartial)) };
  const buckets = isZero(version) ? NAMES.length : 0; // at most
  for (const group of ['dpCp', 'tp'] as const) {
    expect(together(group)).toBeGreaterThanOrEqual(least[group]);
    expect(together(group)).toBeLessThanOrEqual(least[group] + buckets * 2 * 2 * 2 * 4 * 2);
  }
});

test('one data parallel rank: only partial gradients travel, and the others stay where they are', async () => {
  const sent = await onMesh({ tp: 2 }, async ({ world, tp, dpCp }) => {
    const parameters = partialParameters(tp);
    const { reduced, bytes } = bucketedDataParallel(parameters, dpCp, { backwards: 1 });
    accumulate(parameters, '');
    const before = new Map(parameters.map((one) => [one.name, one.grad]));
    await reduced();
    for (const { name, grad } of parameters) expect(grad === before.get(name), name).toBe(!isPartial(name));
    const totals = world.recorder.totals().map(({ group, operation, calls }) => [group, operation, calls]);
    expect(totals).toEqual([['tp', 'allReduce', 2]]); // norms and matrices: they are of two kinds
    expect(bytes()).toEqual({ dpCp: 0, ...sentOf(world) });
    disposeAll(parameters);
    return bytes()['tp'] as number;
  });
  expect(sent.reduce((a, b) => a + b)).toBe(2 * 4 * elements(NAMES.filter(isPartial)));
});

test('parameters that are partial over different ranks never share a bucket', async () => {
  await spmd(4, async (world) => {
    const alone = await world.split(world.rank, 0, 'dpCp');
    const row = await world.split(world.rank >> 1, 0, 'sharing'); // {0 1} {2 3}
    const column = await world.split(world.rank & 1, 0, 'sharing'); // {0 2} {1 3}
    const parameters = ['a', 'b', 'c'].map((name) => Parameter.of(name, tf.zeros([2])));
    for (const [i, one] of parameters.entries()) one.partial = i === 1 ? column : row;
    const { reduced } = bucketedDataParallel(parameters, alone, { backwards: 1 });
    for (const one of parameters) one.accumulate(tf.fill([2], 10 ** world.rank));
    await reduced();
    const sums = await valuesOf(parameters.map(({ grad }) => grad as tf.Tensor));
    const [ofRow, ofColumn] = [[11, 11, 1100, 1100][world.rank], [101, 1010, 101, 1010][world.rank]];
    expect(sums.map(([sum]) => sum)).toEqual([ofRow, ofColumn, ofRow]);
    disposeAll(parameters);
  });
});
