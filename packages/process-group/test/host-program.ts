/** What ranks on two hosts compute, to be compared bit by bit with what they would in one process. */
import { createHash } from 'node:crypto';
import { bytesOf } from '@fourfold/runtime/bytes';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { ProcessGroup } from '../src/index.ts';
import { tensorOf } from './collectives.ts';

export interface HostResult {
  /** Of what each step gave, SHA-256. */
  readonly digests: Record<string, string>;
  /** How long each took, in milliseconds. */
  readonly times: Record<string, number>;
}

/** All-reduces from 16 bytes to 4 MB, messages both ways round, a gather and a barrier. */
export async function hostProgram(world: ProcessGroup): Promise<HostResult> {
  const digests: Record<string, string> = {};
  const times: Record<string, number> = {};
  const { rank, size } = world;
  const input = (count: number) => tensorOf('host', rank, [count], 'float32');
  const step = async (name: string, run: () => Promise<Tensor[]>) => {
    const start = performance.now();
    const results = await run();
    times[name] = Math.round(performance.now() - start);
    const hash = createHash('sha256');
    for (const result of results) {
      const { view, giveBack } = await bytesOf(result);
      hash.update(view);
      giveBack();
    }
    digests[name] = hash.digest('hex');
    tf.dispose(results);
  };
  for (const count of [4, 10_007, 1 << 20]) {
    const x = input(count);
    await world.barrier();
    await step(`allReduce ${4 * count} bytes`, async () => [await world.allReduce(x)]);
    x.dispose();
  }
  const [next, previous] = [(rank + 1) % size, (rank + size - 1) % size];
  const messages = [input(5), input(100_003)].flatMap((send) => [
    { send, to: next },
    { receiveFrom: previous, like: { shape: send.shape, dtype: 'float32' } } as const,
  ]);
  await step('sendReceive', () => world.sendReceive(messages));
  await step('allGather', async () => [await world.allGather(input(777), 0)]);
  await step('barrier', async () => {
    await world.barrier();
    return [];
  });
  return { digests, times };
}
