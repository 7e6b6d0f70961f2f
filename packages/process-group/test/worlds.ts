/** Worlds to test in: the same rank function on every transport. */
import { openBackend } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { inWorld, type ProcessGroup, spmd, type WorldOptions } from '../src/index.ts';
import { freePort } from '../src/launch/machine.ts';

export type Body<R> = (world: ProcessGroup) => Promise<R>;

export const useTensorflow = async (): Promise<void> => void (await openBackend({ device: 'cpu', threads: 2 }));

/** What a launcher would put into the environment of `rank`. */
export const environmentOf = (rank: number, size: number, port: number): Record<string, string> => ({
  RANK: String(rank),
  LOCAL_RANK: String(rank),
  WORLD_SIZE: String(size),
  MASTER_ADDR: '127.0.0.1',
  MASTER_PORT: String(port),
  FOURFOLD_SECRET: 'a secret of tests, long enough',
});

/** Ranks that share a process, but talk through sockets like processes. Rejects with the first rank's error to come. */
export async function overTcp<R>(size: number, body: Body<R>, options: WorldOptions = {}): Promise<R[]> {
  const port = await freePort();
  const ranks = Array.from({ length: size }, (_, rank) =>
    inWorld({ meetingSeconds: 20, timeoutSeconds: 20, ...options, environment: environmentOf(rank, size, port) }, body),
  );
  const outcomes = await Promise.allSettled(ranks);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  return outcomes.map((outcome) => (outcome as PromiseFulfilledResult<R>).value);
}

export const transports = { local: spmd, tcp: overTcp } as const;

/** What each rank's error says, in rank order; undefined for a rank that had none. */
export async function errorsOf(
  size: number,
  body: Body<unknown>,
  options: WorldOptions = {},
): Promise<(string | undefined)[]> {
  const errors: (string | undefined)[] = Array(size).fill(undefined);
  const port = await freePort();
  const ranks = Array.from({ length: size }, async (_, rank) => {
    const environment = environmentOf(rank, size, port);
    await inWorld({ meetingSeconds: 20, timeoutSeconds: 20, ...options, environment }, body).catch((error: Error) => {
      errors[rank] = error.message;
    });
  });
  await Promise.all(ranks);
  return errors;
}

/** Frees tensors, and returns what `use` made of them. */
export async function using<R>(tensors: Tensor[], use: (...tensors: Tensor[]) => Promise<R>): Promise<R> {
  try {
    return await use(...tensors);
  } finally {
    tf.dispose(tensors);
  }
}
