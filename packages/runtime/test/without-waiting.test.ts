import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { constant, hostFloats, readLater, readTimed, zeros } from '../src/index.ts';
import { pretendGpu } from './pretended-gpu.ts';
import { expectNoLeak, onBackends, useBackend } from './testing.ts';

const NUMBERS = [1, -0.1, 1e-30, -0, Number.NaN, Number.NEGATIVE_INFINITY];
const bitsOf = (floats: ArrayLike<number>): number[] => Array.from(new Int32Array(Float32Array.from(floats).buffer));

/** Fails unless x is of this shape and has the bits of these numbers; frees x. */
async function expectNumbers(x: Tensor, shape: number[], numbers: readonly number[]): Promise<void> {
  expect([x.dtype, x.shape]).toEqual(['float32', shape]);
  expect(bitsOf(await readLater(x))).toEqual(bitsOf(numbers));
  x.dispose();
}

async function checkNumbers(): Promise<void> {
  await expectNumbers(constant(NUMBERS, [2, 3]), [2, 3], NUMBERS);
  await expectNumbers(constant([0.3], []), [], [0.3]);
  await expectNumbers(constant([], [0, 4]), [0, 4], []);
  await expectNumbers(constant(Float32Array.of(9, ...NUMBERS).subarray(1), [6]), [6], NUMBERS);
  for (const shape of [[], [2, 3], [3, 0]]) {
    const x = zeros(shape);
    await expectNumbers(x, shape, Array(x.size).fill(0));
  }
}

onBackends(() => {
  test('a tensor may be disposed of as soon as its numbers are asked for', () =>
    expectNoLeak(async () => {
      const x = tf.tidy(() => tf.add(tf.tensor1d([1, 2, 3]), 0.5));
      const reading = readLater(x);
      x.dispose();
      expect(Array.from(await reading)).toEqual([1.5, 2.5, 3.5]);
    }));

  test('so it may where the backend reads later, as WebGPU does', () =>
    expectNoLeak(async () => {
      const backend = tf.backend();
      const read = backend.read.bind(backend);
      backend.read = async (id) => {
        await new Promise((done) => setTimeout(done));
        return read(id);
      };
      const x = tf.tensor1d([1, 2, 3]);
      const reading = readLater(x);
      x.dispose();
      expect(Array.from(await reading)).toEqual([1, 2, 3]);
      backend.read = read;
    }));

  test('numbers are read with the time when they were there', async () => {
    const [x, before] = [tf.scalar(1), performance.now()];
    const { numbers, at } = await readTimed(x);
    expect(Array.from(numbers)).toEqual([1]);
    expect(at).toBeGreaterThanOrEqual(before);
    expect(at).toBeLessThanOrEqual(performance.now());
    x.dispose();
  });

  test('constants have the very bits, and zeros are zeros, of any shape', () => expectNoLeak(checkNumbers));
});

test('numbers for kernels are the bits of float32, in the host’s memory', async () => {
  await useBackend('cpu');
  const x = hostFloats(NUMBERS);
  expect([x.dtype, x.shape]).toEqual(['int32', [6]]);
  expect(Array.from(await x.data())).toEqual(bitsOf(NUMBERS));
  x.dispose();
});

describe('on a GPU', () => {
  beforeAll(() => useBackend('cpu'));

  test('nobody waits for constants and zeros, nor to read them later', () =>
    expectNoLeak(() =>
      pretendGpu(async (gpu) => {
        await checkNumbers();
        expect(gpu.waits).toEqual([]);
        expect(Object.fromEntries(gpu.calls)).toEqual({ FourfoldUpload: 4, Empty: 3, FourfoldCopyOut: 7 });
      }),
    ));

  test('the time of numbers is when the GPU had them, however late JavaScript hears of it', () =>
    pretendGpu(async (gpu) => {
      gpu.ago = 1000;
      const [x, before] = [zeros([]), performance.now()];
      const { at } = await readTimed(x);
      x.dispose();
      expect(at).toBeGreaterThanOrEqual(before - 1000);
      expect(at).toBeLessThanOrEqual(performance.now() - 1000);
    }));

  // The tests that no step waits stand on these: a watch that misses one of them would miss it in a step.
  const [x, ids] = [() => zeros([2, 3]), () => tf.tensor1d([1, 0], 'int32')];
  const WAITS: [what: string, run: () => unknown, waits: RegExp[]][] = [
    ['a scalar', () => tf.sqrt(tf.scalar(2)), [/^float32 \[\] made by JavaScript$/]],
    ['a table', () => tf.sqrt(tf.tensor2d([[1, 2]])), [/^float32 \[1,2\] made by JavaScript$/]],
    ['zeros of tfjs', () => tf.sqrt(tf.zeros([2])), [/^float32 \[2\] made by JavaScript$/]],
    ['a tensor of one number', () => tf.fill([2, 3], 0.5), [/^float32/, /^Fill takes int32 \[2\]/]],
    ['a number in an operation', () => tf.div(x(), 2), [/^float32 \[\] made/]],
    ['padding of tfjs', () => tf.pad(x(), [[0, 1], [0, 0]]), [/^float32 \[\] made/, /^PadV2 takes int32 \[2,2\]/]],
    ['rows by number', () => tf.gather(x(), ids()), [/^GatherV2 takes int32 \[2\] to the GPU$/, /^GatherV2 takes/]],
    ['whole numbers cast', () => tf.cast(ids(), 'float32'), [/^Cast takes int32 \[2\] to the GPU$/]],
    ['floats cast', () => tf.cast(x(), 'int32'), [/^Cast leaves int32 \[2,3\] in the GPU$/]],
    ['reading', () => x().dataSync(), [/^a tensor is read$/]],
  ]; // biome-ignore format: a table

  test.each(WAITS)('what waits is noticed: %s', (_, run, waits) =>
    pretendGpu(async (gpu) => {
      tf.tidy(() => void run());
      expect(gpu.waits).toEqual(waits.map((wait) => expect.stringMatching(wait)));
    }),
  );

  test('tokens and axes are the host’s: reading and slicing them waits for nobody', () =>
    pretendGpu(async (gpu) => {
      tf.tidy(() => {
        const some = tf.slice(tf.reshape(ids(), [2, 1]), [1, 0], [1, 1]);
        expect(Array.from(some.dataSync())).toEqual([0]);
        tf.sum(x(), 1);
      });
      expect(gpu.waits).toEqual([]);
    }));
});
