/** Bytes: what local counts, what tcp counts, and what its sockets really write. */
import net from 'node:net';
import type { DType } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { ProcessGroup } from '../src/index.ts';
import { CHUNK } from '../src/tcp/round.ts';
import { SMALL } from '../src/tcp/tcp.ts';
import { allGatherBytes, allReduceBytes, bytesOf, partStart, slicesOf } from '../src/traffic.ts';
import { tensorOf } from './collectives.ts';
import { transports, useTensorflow } from './worlds.ts';

beforeAll(useTensorflow);

const spec = (count: number, dtype: DType = 'float32') => ({ shape: [count], dtype });

test('parts of a tensor are all of it, and differ by one element at the most', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 40 }), fc.integer({ min: 1, max: 64 }), (count, n) => {
      const starts = Array.from({ length: n + 1 }, (_, rank) => partStart(count, rank, n));
      expect([starts[0], starts[n]]).toEqual([0, count]);
      const lengths = starts.slice(1).map((start, i) => start - (starts[i] as number));
      expect(Math.max(...lengths) - Math.min(...lengths)).toBeLessThanOrEqual(1);
    }),
  );
});

test('slices are all of a tensor, each of whole elements', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 28 }), (count) => {
      const slices = slicesOf(4 * count);
      expect([slices[0]?.[0], slices.at(-1)?.[1]]).toEqual([0, 4 * count]);
      for (const [i, [from, to]] of slices.entries()) {
        if (i > 0) expect(from).toBe(slices[i - 1]?.[1]);
        expect([from % 4, to % 4]).toEqual([0, 0]);
      }
    }),
    { numRuns: 30 },
  );
  expect(slicesOf(0)).toEqual([[0, 0]]);
});

test('together ranks send 2 (n-1) times the tensor in an all-reduce, n (n-1) times the part in an all-gather', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 24 }), fc.integer({ min: 1, max: 16 }), (count, n) => {
      const ofRanks = Array.from({ length: n }, (_, rank) => allReduceBytes(spec(count), rank, n));
      expect(ofRanks.reduce((a, b) => a + b)).toBe(2 * (n - 1) * 4 * count);
      expect(allGatherBytes(spec(count, 'bfloat16'), n)).toBe((n - 1) * 2 * count);
    }),
  );
  expect(bytesOf({ shape: [3, 5], dtype: 'bfloat16' })).toBe(30);
  expect(bytesOf({ shape: [], dtype: 'int32' })).toBe(4);
});

// ## What is written

const write = net.Socket.prototype.write;
let written = 0;
/** Counts what all sockets of this process write. */
beforeEach(() => {
  net.Socket.prototype.write = function (this: net.Socket, ...args: Parameters<typeof write>) {
    written += (args[0] as Uint8Array).length;
    return Reflect.apply(write, this, args);
  } as typeof write;
});
afterEach(() => {
  net.Socket.prototype.write = write;
});

const HEADER = 16;
type Collective = (world: ProcessGroup, rows: number, columns: number) => Promise<unknown>;

/** A collective of a tensor of one shape on all ranks. */
const of =
  (dtype: DType, run: (world: ProcessGroup, x: tf.Tensor) => Promise<tf.Tensor | tf.Tensor[]>): Collective =>
  async (world, rows, columns) => {
    const x = tensorOf('x', world.rank, [rows, columns], dtype);
    const result = run(world, x);
    x.dispose();
    tf.dispose(await result);
  };

const COLLECTIVES: Record<string, Collective> = {
  'allReduce float32': of('float32', (world, x) => world.allReduce(x)),
  'allReduce bfloat16': of('bfloat16', (world, x) => world.allReduce(x, 'max')),
  'allGather along 1': of('float32', (world, x) => world.allGather(x, 1)),
  'uneven allGather': async (world, rows, columns) => {
    const sizes = world.ranks.map((_, rank) => rows + 7 * rank);
    await of('int32', (group, x) => group.allGather(x, 0, sizes))(world, sizes[world.rank] as number, columns);
  },
  'reduceScatter along 0': of('float32', (world, x) => world.reduceScatter(x, 0)),
  'reduceScatter along 1': of('bfloat16', (world, x) => world.reduceScatter(x, 1, 'mean')),
  broadcast: of('float32', (world, x) => world.broadcast(x, 1)),
  'allToAll along 0': of('int32', (world, x) => world.allToAll(x, 0)),
  'allToAll along 1': of('float32', (world, x) => world.allToAll(x, 1)),
  sendReceive: of('float32', (world, x) =>
    world.sendReceive([
      { send: x, to: (world.rank + 1) % world.size },
      { receiveFrom: (world.rank + world.size - 1) % world.size, like: { shape: x.shape, dtype: 'float32' } },
    ]),
  ),
};

test.each([2, 3])('%i ranks: local counts what tcp counts', async (size) => {
  const [rows, columns] = [3 * 2 * 61, 3 * 2 * 37]; // 81 252 elements, parts that are no multiple of a chunk
  expect(4 * rows * columns).toBeGreaterThan(SMALL);
  /** For each collective the bytes of a rank. */
  const measured = (transport: 'local' | 'tcp') =>
    transports[transport](size, async (world) => {
      const results: Record<string, number> = {};
      for (const [name, run] of Object.entries(COLLECTIVES)) {
        world.recorder.reset();
        await run(world, rows, columns);
        results[name] = world.recorder.totals()[0]?.bytes as number;
        expect(results[name] > 0 || name === 'broadcast').toBe(true);
      }
      return results;
    });
  const [local, tcp] = [await measured('local'), await measured('tcp')];
  for (const name of Object.keys(COLLECTIVES))
    expect(
      tcp.map((ofRank) => ofRank[name]),
      name,
    ).toEqual(local.map((ofRank) => ofRank[name]));
});

test.each(Object.entries(COLLECTIVES))(
  '%s: sockets write the counted bytes, headers and announcements',
  async (name, run) => {
    const size = 3;
    const [rows, columns] = [3 * 61, 3 * 37];
    const texts: string[] = [];
    const counted = await transports.tcp(size, async (world) => {
      await world.barrier();
      await new Promise((resolve) => setTimeout(resolve, 30)); // the wire is still
      written = 0;
      await new Promise((resolve) => setTimeout(resolve, 10));
      world.recorder.reset();
      world.recorder.trace = [];
      await run(world, rows, columns);
      const { bytes } = world.recorder.totals()[0] as { bytes: number };
      texts.push(world.recorder.trace[0]?.text as string);
      await new Promise((resolve) => setTimeout(resolve, 100)); // all are through: nothing else is written meanwhile
      return { bytes, written };
    });
    const payload = counted.reduce((sum, { bytes }) => sum + bytes, 0);
    const total = Math.min(...counted.map((ofRank) => ofRank.written)); // the first to read: before any goodbye
    // Each frame has a header; each rank tells two others what it calls, or, for messages, its one receiver.
    const announcements = texts.map((text) => {
      const words = name === 'sendReceive' ? (/float32 \[[\d,]+\]/.exec(text)?.[0] as string) : text;
      return (name === 'sendReceive' ? 1 : size - 1) * (HEADER + Buffer.byteLength(words));
    });
    const rest = total - payload - announcements.reduce((a, b) => a + b);
    expect(rest % HEADER).toBe(0);
    const frames = rest / HEADER;
    expect(frames).toBeGreaterThanOrEqual(payload / CHUNK);
    expect(frames).toBeLessThanOrEqual(payload / CHUNK + 2 * size * (size - 1)); // a last one of each stream is shorter
  },
);
