import { spmd } from '@fourfold/process-group';
import { UserError } from '@fourfold/runtime';
import { useBackend } from '@fourfold/runtime/testing';
import { beforeAll, expect, test } from 'vitest';
import { type Checkpoint, type Found, findNewest, openCheckpoint } from '../src/index.ts';
import { type Cut, heldBy, KINDS, savedBy } from './states.ts';

beforeAll(() => useBackend('cpu'));

const cuts: Cut[] = [
  { tp: 1, dp: 1 },
  { tp: 2, dp: 1 },
  { tp: 4, dp: 1 },
  { tp: 3, dp: 2 },
  { tp: 1, dp: 3, zero: true },
  { tp: 2, dp: 2, zero: true },
];

async function opened(folder: string): Promise<Checkpoint> {
  const [found] = await spmd(1, (world) => findNewest(world, folder, () => {}));
  return openCheckpoint(found as Found);
}

/** Every rank of a cut gets its own numbers. */
async function expectRead(checkpoint: Checkpoint, cut: Cut): Promise<void> {
  for (let rank = 0; rank < cut.tp * cut.dp; rank++)
    for (const kind of KINDS)
      for (const parameter of heldBy(rank, cut, kind)) {
        const tensor = await checkpoint.tensor(kind, parameter, 'float32');
        expect(tensor.shape).toEqual(parameter.shape);
        expect(await tensor.data(), `${kind} ${parameter.name} of rank ${rank}`).toEqual(await parameter.value.data());
        tensor.dispose();
      }
}

for (const saved of cuts)
  test(`saved by ${JSON.stringify(saved)}, read by every other cut, bit for bit`, async () => {
    const checkpoint = await opened(await savedBy(saved));
    for (const cut of cuts) await expectRead(checkpoint, cut);
    await checkpoint.close();
  });

test('what is missing, of another dtype or of another shape is said', async () => {
  const checkpoint = await opened(await savedBy({ tp: 2, dp: 1 }));
  const [embed] = heldBy(0, { tp: 1, dp: 1 }, 'weight');
  const ask = (kind: string, change: object, dtype: 'float32' | 'bfloat16' = 'float32') =>
    checkpoint.tensor(kind, Object.assign(heldBy(0, { tp: 1, dp: 1 }, 'weight')[0] as object, change) as never, dtype);
  expect(embed?.name).toBe('embed');
  await expect(ask('master', {})).rejects.toThrow(/has 0 of 72 elements that this rank needs of master embed$/);
  await expect(ask('m', {}, 'bfloat16')).rejects.toThrow(/is F32, and BF16 is wanted$/);
  await expect(ask('m', { fullShape: [3, 6] })).rejects.toThrow(/does not fit \[3,6\], the model's shape$/);
  await expect(ask('m', { name: 'other' })).rejects.toBeInstanceOf(UserError);
  await checkpoint.close();
});
