/** Joining a world, and leaving it, well or not. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { UserError } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { attempt, inWorld, isLaunched, joinWorld } from '../src/index.ts';
import { freePort } from '../src/launch/machine.ts';
import { environmentOf, errorsOf, overTcp, useTensorflow } from './worlds.ts';

beforeAll(useTensorflow);

/** The ranks of a world that meet through `environment`. */
const ranksIn = <R>(size: number, environment: Record<string, string>, body: Parameters<typeof inWorld<R>>[1]) =>
  Promise.all(
    Array.from({ length: size }, (_, rank) =>
      inWorld({ meetingSeconds: 10, environment: { ...environmentOf(rank, size, 1), ...environment } }, body),
    ),
  );

test('alone, without any variables, a process is a world of one', async () => {
  const { world, fail } = await joinWorld({ environment: {} });
  expect([world.rank, world.size, world.ranks, world.name]).toEqual([0, 1, [0], 'world']);
  await fail(new Error('nobody hears it'));
  expect(await inWorld({ environment: {} }, async ({ size }) => size)).toBe(1);
});

test('a process is launched where a launcher says that there are several, whichever it is', () => {
  expect(isLaunched(environmentOf(1, 3, 1))).toBe(true);
  expect(isLaunched({ OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '2' })).toBe(true);
  expect(isLaunched({ SLURM_PROCID: '1', SLURM_STEP_NUM_TASKS: '2', SLURM_NNODES: '1' })).toBe(true);
  expect(isLaunched({})).toBe(false);
  expect(isLaunched({ MASTER_ADDR: '127.0.0.1', MASTER_PORT: '29500' })).toBe(false);
  expect(isLaunched(environmentOf(0, 1, 1))).toBe(false);
});

test('also where they are to meet through a file, which need not be there yet', () => {
  const MASTER_ADDR = 'file:///no/such/run.json';
  expect(isLaunched({ ...environmentOf(1, 3, 1), MASTER_ADDR })).toBe(true);
  expect(isLaunched({ MASTER_ADDR })).toBe(false);
});

test('how often the launcher has started the ranks before', () => {
  expect(attempt({ ...environmentOf(1, 3, 1), TORCHELASTIC_RESTART_COUNT: '2' })).toBe(2);
  expect(attempt({ ...environmentOf(1, 3, 1), TORCHELASTIC_RESTART_COUNT: '0' })).toBe(0);
  expect(attempt({})).toBe(0);
});

test('half a place is refused, not taken for none', () => {
  const asking = () => isLaunched({ RANK: '1' });
  expect(asking).toThrow(UserError);
  expect(asking).toThrow('RANK=1 is given without WORLD_SIZE: set both');
});

test('ranks meet through a port, and each knows its place', async () => {
  const places = await overTcp(3, async ({ rank, size, ranks, recorder }) => ({
    rank,
    size,
    ranks,
    counted: recorder.totals(),
  }));
  expect(places).toEqual([0, 1, 2].map((rank) => ({ rank, size: 3, ranks: [0, 1, 2], counted: [] })));
});

test('ranks meet through a file', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-world-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const MASTER_ADDR = pathToFileURL(join(folder, 'run.json')).href;
  const sums = await ranksIn(2, { MASTER_ADDR }, async (world) => {
    const x = tf.scalar(world.rank + 1);
    const sum = await world.allReduce(x);
    const value = (await sum.data())[0];
    tf.dispose([x, sum]);
    return value;
  });
  expect(sums).toEqual([3, 3]);
});

test('a file that is none is refused in a sentence', async () => {
  const environment = { ...environmentOf(0, 2, 1), MASTER_ADDR: 'file://elsewhere/run.json' };
  const joining = joinWorld({ environment });
  await expect(joining).rejects.toThrow('MASTER_ADDR=file://elsewhere/run.json names no file');
  await expect(joining).rejects.toBeInstanceOf(UserError);
});

test('nobody there: a sentence within the time asked for', async () => {
  const environment = environmentOf(1, 2, await freePort());
  const begin = performance.now();
  await expect(joinWorld({ environment, meetingSeconds: 0.5 })).rejects.toBeInstanceOf(UserError);
  expect(performance.now() - begin).toBeLessThan(3000);
});

test('a body that throws ends all: its own error here, its words there', async () => {
  const errors = await errorsOf(3, async (world) => {
    if (world.rank === 1) throw new Error('no such file');
    await world.barrier();
  });
  expect(errors[1]).toBe('no such file');
  for (const rank of [0, 2]) expect(errors[rank]).toMatch(/rank 1 stopped: no such file$/);
});

test('a rank that has ended early is named by those who wait for it', async () => {
  const errors = await errorsOf(2, async (world) => (world.rank === 0 ? world.barrier() : undefined));
  expect(errors).toEqual(['rank 1 has ended, and rank 0 waits for it in barrier (group world)', undefined]);
});

test('after the end, calls are refused', async () => {
  const worlds = await overTcp(2, async (world) => world);
  await expect(worlds[0]?.barrier()).rejects.toThrow('this group is closed');
});
