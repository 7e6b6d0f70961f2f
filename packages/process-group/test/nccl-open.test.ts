import { openBackend, UserError } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test, vi } from 'vitest';
import { spmd } from '../src/local/local.ts';
import { openNccl } from '../src/nccl/open.ts';
import { FakeNative } from './nccl-fake.ts';

beforeAll(async () => {
  await openBackend({ device: 'cpu', threads: 1 });
});

test("all ranks join under the first one's name, and no tensor is left", async () => {
  const natives = [0, 1, 2].map((gpu) => new FakeNative(gpu));
  const before = tf.memory().numTensors;
  await spmd(3, (control) => openNccl({ control, native: natives[control.rank] as FakeNative, timeoutSeconds: 7 }));
  const [first] = natives as [FakeNative];
  for (const [rank, { id, log }] of natives.entries()) {
    expect([...(id as Uint8Array)]).toEqual([...first.uniqueId()]);
    expect(log).toEqual([`join 3 ${rank} 7`]);
  }
  expect(tf.memory().numTensors).toBe(before);
});

test('two ranks on one GPU are refused by all ranks, and named', async () => {
  const refused: unknown[] = [];
  await spmd(3, async (control) => {
    const native = new FakeNative(control.rank === 0 ? 0 : 1);
    await openNccl({ control, native }).catch((error) => refused.push(error));
    expect(native.log).toEqual([]);
  });
  expect(refused).toHaveLength(3);
  for (const error of refused) {
    expect(error).toBeInstanceOf(UserError);
    expect(String(error)).toContain(
      'transport=nccl: ranks 1 and 2 have the same GPU, and NCCL needs one for each rank',
    );
  }
});

test('ranks that never join are an error after the time-out', async () => {
  const ranks = spmd(2, async (control) => {
    const native = new FakeNative(control.rank);
    native.join = () => new Promise(() => {});
    await openNccl({ control, native, timeoutSeconds: 0.05 });
  });
  await expect(ranks).rejects.toThrow(/rank \d: joining over NCCL did not end within 0.05 s: a rank is missing/);
});

test('what the watch finds ends the process: the sentence on stderr, exit code 1', async () => {
  const written = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  const exit = vi.spyOn(process, 'exit').mockReturnValue(undefined as never);
  const native = new FakeNative();
  await spmd(1, (control) => openNccl({ control, native }));
  native.trouble('allReduce(sum) of float32 [2] in group dp: NCCL says: remote process exited');
  expect(written.mock.calls).toEqual([
    ['rank 0: allReduce(sum) of float32 [2] in group dp: NCCL says: remote process exited\n'],
  ]);
  expect(exit.mock.calls).toEqual([[1]]);
  expect(native.log).toEqual(['join 1 0 600', 'end within 3']);
  vi.restoreAllMocks();
});
