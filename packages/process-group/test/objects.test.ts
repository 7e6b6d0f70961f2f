import { expectNoLeak } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { gatherObjects, type ProcessGroup, spmd } from '../src/index.ts';
import { transports, useTensorflow } from './worlds.ts';

beforeAll(useTensorflow);

/** Of very different lengths, one of them with letters of two, three and four bytes. */
const values = [
  { label: 'dp0 tp1', totals: [{ bytes: 12_582_912, waited: 0.25 }], names: { tp: 7 } },
  [],
  ['Tränen, 涙, 😢', null, true, { empty: {}, list: [[]] }, 'x'.repeat(5000)],
];

test.each(Object.entries(transports))('%s: three values in rank order on each of three ranks', async (_, run) => {
  const gathered = await run(3, (world) => gatherObjects(world, values[world.rank]));
  expect(gathered).toEqual([values, values, values]);
});

test('a group of one has its own value, as a copy like everybody else', async () => {
  const [gathered] = await spmd(1, (world) => gatherObjects(world, values[2]));
  expect(gathered).toEqual([values[2]]);
  expect(gathered?.[0]).not.toBe(values[2]);
  const [copy] = await spmd(1, (world) => gatherObjects(world, { loss: Number.NaN, mfu: undefined }));
  expect(copy).toStrictEqual([{ loss: null }]);
});

test('any JSON of any length comes back as it was', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.jsonValue(), { minLength: 2, maxLength: 2 }), async (pair) => {
      const asJson = JSON.parse(JSON.stringify(pair)); // JSON has no -0
      expect(await spmd(2, (world) => gatherObjects(world, pair[world.rank]))).toEqual([asJson, asJson]);
    }),
    { numRuns: 50 },
  );
});

test('no tensors are left, and both gathers are counted', async () => {
  const recorders = await expectNoLeak(() =>
    spmd(2, async (world) => {
      await gatherObjects(world, 'x'.repeat(world.rank === 0 ? 2 : 6)); // with its quotes 4 and 8 bytes
      return world.recorder;
    }),
  );
  expect(recorders.map((recorder) => recorder.totals())).toMatchObject([
    [{ group: 'world', operation: 'allGather', calls: 2, bytes: 4 + 4 }],
    [{ group: 'world', operation: 'allGather', calls: 2, bytes: 4 + 8 }],
  ]);
});

test('what JSON has no words for is refused', async () => {
  const gathering = spmd(1, (world) => gatherObjects(world, undefined));
  await expect(gathering).rejects.toThrow('JSON has no way to say a value of type undefined');
});

/** A rank that calls the same collectives with numbers of its own. */
async function impostor(world: ProcessGroup, length: number, words: number[]): Promise<void> {
  const lengths = await world.allGather(tf.tensor1d([length], 'int32'), 0);
  const [mine] = await lengths.data();
  await world.allGather(tf.tensor1d(words, 'int32'), 0, [mine as number, words.length]);
}

test.each([
  ['is too long', 2 ** 24 + 1, [0], 'rank 1 of group world has 67108868 bytes, not 4 to 64 MiB'],
  ['is empty', 0, [0], 'rank 1 of group world has 0 bytes'],
  ['is no JSON', 1, [0x20202c5b], 'what rank 1 of group world sent is no JSON'], // '[,  '
  ['is no UTF-8', 1, [0x2022ff22], 'what rank 1 of group world sent is no JSON'], // a string of the byte ff
])('a text that %s is refused', async (_, length, words, message) => {
  const run = spmd(2, async (world) => {
    if (world.rank === 0) await gatherObjects(world, 1);
    else await impostor(world, length, words);
  });
  await expect(run).rejects.toThrow(message);
});
