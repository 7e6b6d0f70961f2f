/** ZeRO-1: every rank keeps the moments of its part alone, whatever the sizes, and the weights come back whole. */
import { type LlamaConfig, MODELS, parameterCount } from '@fourfold/model';
import type { Parameter } from '@fourfold/ops';
import { AdamW } from '@fourfold/optim';
import { type ProcessGroup, spmd } from '@fourfold/process-group';
import { cast, type DType, dtypeOf, memory, openBackend, UserError } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { bucketedDataParallel } from '../src/data-parallel.ts';
import { accumulate, disposeAll, modelOf, parametersOf, sameBits, valuesOf } from './ranks.ts';

beforeAll(async () => void (await openBackend({ device: 'cpu' })));

/** Bytes that an AdamW of these parameters allocates. */
function optimizerBytes(parameters: readonly Parameter[]): number {
  const before = memory().bytes;
  const optimizer = new AdamW(parameters);
  const bytes = memory().bytes - before;
  optimizer.dispose();
  return bytes;
}

test.each(['float32', 'bfloat16'] as const)('AdamW of %s weights takes 1/n of the memory', async (dtype) => {
  const ofRanks = await spmd(4, async (group) => {
    const model = modelOf(false, dtype);
    const all = optimizerBytes(model.parameters);
    const { updated } = bucketedDataParallel(model.parameters, group, { backwards: 1, zero: true });
    const part = optimizerBytes(updated);
    disposeAll(updated, model.parameters);
    return { all, part };
  });
  // Two moments for each element and, where weights are bfloat16, a master. Padding: at most a thousandth more.
  const shape = { ...(MODELS['nano'] as LlamaConfig), vocabulary: 61, tied: false };
  const whole = (dtype === 'float32' ? 8 : 12) * parameterCount(shape);
  for (const { all, part } of ofRanks) {
    expect(all / whole).toBeGreaterThanOrEqual(1);
    expect(all / whole).toBeLessThan(1.001);
    expect(part / whole).toBeGreaterThanOrEqual(1 / 4);
    expect(part / whole).toBeLessThan(1.001 / 4);
  }
});

/** The weights after three steps, of parameters with these shapes. */
const weightsAfter = (ranks: number, shapes: number[][], bucketBytes: number, zero: boolean, dtype: DType) =>
  expectNoLeak(() =>
    spmd(ranks, async (group) => {
      const parameters = parametersOf(Object.fromEntries(shapes.map((shape, i) => [`p${i}`, shape])));
      for (const one of parameters) inDType(one, dtype);
      const { updated, reduced, gathered } = bucketedDataParallel(parameters, group, {
        backwards: 1,
        bucketBytes,
        zero,
      });
      const optimizer = new AdamW(updated, { weightDecay: 0.1 });
      for (let step = 0; step < 3; step++) {
        accumulate(parameters, `${step} of ${group.rank}`);
        await reduced();
        optimizer.update(0.01);
        await gathered();
      }
      const values = await valuesOf(parameters.map(({ value }) => value));
      expect(parameters.map(({ value }) => dtypeOf(value))).toEqual(parameters.map(() => dtype));
      expect(parameters.map(({ value }) => value.shape)).toEqual(shapes);
      optimizer.dispose();
      disposeAll(updated, parameters);
      return values;
    }),
  );

function inDType(parameter: Parameter, dtype: DType): void {
  const { value } = parameter;
  parameter.value = cast(value, dtype);
  value.dispose();
}

test.each(['float32', 'bfloat16'] as const)(
  'the bits of buckets without ZeRO, for any sizes: odd ones, and fewer elements than ranks (%s)',
  async (dtype) => {
    const shape = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 3 });
    const shapes = fc.array(shape, { minLength: 1, maxLength: 5 });
    const bucketBytes = fc.constantFrom(1, 64, 400, 2 ** 20);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 2, max: 8 }), shapes, bucketBytes, async (ranks, sides, bytes) => {
        const [plain] = await weightsAfter(ranks, sides, bytes, false, dtype);
        for (const weights of await weightsAfter(ranks, sides, bytes, true, dtype))
          expect(sameBits(weights, plain as Float32Array[])).toBe(true);
      }),
      {
        numRuns: 12,
        seed: 1,
        examples: [
          [8, [[3], [1]], 2 ** 20],
          [2, [[1]], 1],
        ],
      },
    );
  },
);

test('weight decay pulls on matrices and not on norms', async () => {
  await spmd(3, async (group: ProcessGroup) => {
    const parameters = parametersOf({ matrix: [5, 3], norm: [5], other: [2, 2] });
    const before = await valuesOf(parameters.map(({ value }) => value));
    const { updated, reduced, gathered } = bucketedDataParallel(parameters, group, { backwards: 1, zero: true });
    const optimizer = new AdamW(updated, { weightDecay: 0.5 });
    for (const one of parameters) one.accumulate(tf.zeros([...one.shape])); // so nothing but decay moves a weight
    await reduced();
    optimizer.update(0.5);
    await gathered();
    const after = await valuesOf(parameters.map(({ value }) => value));
    const kept = [0.75, 1, 0.75]; // 1 - 0.5 · 0.5
    expect(after).toEqual(before.map((values, i) => values.map((x) => x * (kept[i] as number))));
    optimizer.dispose();
    disposeAll(updated, parameters);
  });
});

test('one rank has nothing to share', async () => {
  await spmd(1, async (group) => {
    const make = () => bucketedDataParallel([], group, { backwards: 1, zero: true });
    expect(make).toThrow(new UserError('zero=true shares moments over dp x cp ranks: use dp=2 or more'));
    expect(make).toThrow(UserError);
  });
});
