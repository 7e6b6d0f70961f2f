/** Bytes on paper. Those of real runs are held against them in packages/train/test/plan.proof.ts. */
import { parameterCount } from '@fourfold/model';
import { expect, test } from 'vitest';
import { plannedBytes, plannedBytesOf, rankOnPaper } from '../src/traffic.ts';
import { jobOf } from './jobs.ts';

const first = { dp: 0, pp: 0, cp: 0, tp: 0 };

test('one rank sends nothing', async () => {
  expect(await plannedBytes(jobOf({}), first)).toEqual({});
});

test('dp: an all-reduce of all gradients, 2 (n-1)/n of their float32; as one bucket or in many', async () => {
  const job = jobOf({ dp: 4 });
  const bytes = ((2 * 3) / 4) * 4 * parameterCount(job.shape);
  expect(await plannedBytes(job, first)).toEqual({ dpCp: bytes });
  expect(await plannedBytes(jobOf({ dp: 4, bucketMegabytes: 0 }), first)).toEqual({ dpCp: bytes });
});

test('pp: an activation on to the next stage for each micro-batch, and a gradient back', async () => {
  const job = jobOf({ pp: 4, gradAccSteps: 5, tied: false });
  const message = 8 * 128 * job.shape.dim * 4;
  const sent = await Promise.all([0, 1, 2, 3].map((rank) => plannedBytesOf(job, rank)));
  expect(sent.map(({ pp }) => pp)).toEqual([5 * message, 10 * message, 10 * message, 5 * message]);
});

test('the ends of a pipeline add up tied embeddings, and ranks that share a key head its gradient', async () => {
  const { vocabulary, dim, headDim, layers } = jobOf({}).shape;
  const ends = await plannedBytes(jobOf({ pp: 2 }), first);
  expect(ends['ends']).toBe(4 * vocabulary * dim);
  expect((await plannedBytes(jobOf({ pp: 4 }), { ...first, pp: 1 }))['ends']).toBeUndefined();
  const shared = await plannedBytes(jobOf({ tp: 4, kvHeads: 2 }), first);
  expect(shared['kv']).toBe(layers * 2 * 4 * dim * headDim);
});

test('to run a block again sends again, to run norms and SwiGLU again does not', async () => {
  const bytes = (recompute: string) => plannedBytes(jobOf({ tp: 2, cp: 2, recompute }), first);
  const [none, selective, block] = await Promise.all(['none', 'selective', 'block'].map(bytes));
  expect(selective).toEqual(none);
  for (const group of ['tp', 'cp']) expect(block?.[group]).toBeGreaterThan(none?.[group] as number);
});

test('a group on paper sends nothing', async () => {
  const { tp } = await rankOnPaper(jobOf({ tp: 2 }), first);
  await expect(tp.barrier()).rejects.toThrow('a group on paper sends nothing');
});
