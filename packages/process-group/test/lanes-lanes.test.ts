import { openBackend } from '@fourfold/runtime';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openLanes, type TransferFormat } from '../src/lanes/lanes.ts';
import { sumBytes } from '../src/lanes/traffic.ts';
import { type LaneJob, type LaneRanks, type LaneResult, startLaneRanks, valuesOf } from './lane-child.ts';

let ranks: LaneRanks; // three, for all jobs: the last ones end two of them
beforeAll(async () => {
  await openBackend({ device: 'cpu' });
  ranks = await startLaneRanks(3);
});
afterAll(() => ranks.stop());

/** onto + ((part 0 + part 1) + part 2) ..., in float32 as the ranks add. */
function exactSum(i: number, count: number, ranks: number): Float32Array {
  const sum = valuesOf(0, i, count);
  for (let rank = 1; rank < ranks; rank++) {
    const part = valuesOf(rank, i, count);
    for (let k = 0; k < count; k++) sum[k] = (sum[k] as number) + (part[k] as number);
  }
  const onto = valuesOf(-1, i, count);
  return sum.map((value, k) => value + (onto[k] as number));
}

const bytesOf = (sums: readonly Float32Array[]): Buffer =>
  Buffer.concat(sums.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength)));

const largest = (values: Iterable<number>): number => Array.from(values).reduce((a, b) => Math.max(a, Math.abs(b)), 0);

/** The same bits on all ranks; how far they are from the exact sums at most; and the bytes that rank 0 counted. */
function compare(job: LaneJob, results: readonly LaneResult[]): number {
  const [first] = results as [LaneResult];
  for (const result of results) {
    expect(result.error).toBe('');
    expect(bytesOf(result.sums).equals(bytesOf(first.sums))).toBe(true);
  }
  const sum = (key: 'sent' | 'received') =>
    job.sums.reduce((all, [rows, dim]) => all + sumBytes(rows, dim, job.format, job.ranks)[key], 0);
  expect([first.sent, first.received]).toEqual([sum('sent'), sum('received')]);
  return largest(
    job.sums.map(([rows, dim], i) => {
      const exact = exactSum(i, rows * dim, job.ranks);
      return largest((first.sums[i] as Float32Array).map((value, k) => value - (exact[k] as number)));
    }),
  );
}

// Numbers of up to 0.5: a part is off by 2^-10 in bfloat16, by 0.5/225 in q80. Among three the sum, up to 1.5, is
// rounded as well: by 2^-8 in bfloat16. 1e-7 for what float32 adds.
const LIMITS: readonly (readonly [TransferFormat, ranks: number, limit: number])[] = [
  ['float32', 3, 0],
  ['bfloat16', 3, 3 * 2 ** -10 + 2 ** -8 + 1e-7],
  ['q80', 2, 2 * (0.5 / 225) + 1e-7],
];

for (const [format, count, limit] of LIMITS) {
  test(`${count} ranks' sums in ${format}: the same bits on all, near enough, in the formula's bytes`, async () => {
    const sums = [
      [1, 576],
      [3, 100],
      [1, 1],
      [200, 640],
    ] as const; // the last goes in two steps among three
    const job: LaneJob = { ranks: count, format, sums };
    expect(compare(job, await ranks.run(job))).toBeLessThanOrEqual(limit);
  }, 60_000);
}

test('a row has the same bits alone, among few and among many', async () => {
  // The same numbers begin each: among three a row goes directly, 300 rows in two steps.
  const job: LaneJob = {
    ranks: 3,
    format: 'q80',
    sums: [
      [1, 640],
      [300, 640],
    ],
    sameNumbers: true,
  };
  const [first] = (await ranks.run(job)) as [LaneResult];
  expect(first.error).toBe('');
  const [alone, among] = first.sums as [Float32Array, Float32Array];
  expect(among.subarray(0, 640)).toEqual(alone);
}, 120_000);

test('all bytes of all ranks come to rank 0, none elsewhere', async () => {
  const results = await ranks.run({ ranks: 3, format: 'float32', sums: [], gather: [2, 0, 5] });
  expect(results.map(({ gathered }) => gathered)).toEqual([[[1, 1], [], [3, 3, 3, 3, 3]], [], []]);
  expect(results.map(({ sent, received }) => [sent, received])).toEqual([
    [0, 5],
    [0, 0],
    [5, 0],
  ]);
}, 60_000);

test('messages larger than the sockets hold go both ways at once', async () => {
  const job: LaneJob = { ranks: 2, format: 'float32', sums: [[4096, 1024]] }; // 16 MiB
  const [a, b] = (await ranks.run(job)) as [LaneResult, LaneResult];
  expect([a.error, b.error, a.sent]).toEqual(['', '', 4096 * 1024 * 4]);
}, 120_000);

test('a rank that ends, or stops, ends the sum of the others with its name', async () => {
  const job = {
    format: 'q80',
    sums: [
      [1, 64],
      [1, 64],
    ],
    timeoutMs: 1500,
  } as const;
  const ended = await ranks.run({ ...job, ranks: 3, fault: { rank: 2, does: 'exit' } });
  for (const { error } of ended) expect(error).toMatch(/^rank [0-2] (closed its connection|is lost: .*)$/);
  expect(ended.some(({ error }) => error.startsWith('rank 2'))).toBe(true);
  const stopped = await ranks.run({ ...job, ranks: 2, fault: { rank: 1, does: 'stop' } }); // those that are left
  expect(stopped.map(({ error }) => error)).toContain('rank 1 has not answered for 1500 ms');
}, 60_000);

test('ranks, sockets and names must fit together, and closed lanes say so', () => {
  const options = { rank: 0, format: 'q80', timeoutMs: 1000, names: ['rank 0'] } as const;
  expect(() => openLanes({ ...options, sockets: [undefined, undefined] })).toThrow("don't fit together");
  const lanes = openLanes({ ...options, sockets: [undefined] });
  lanes.close();
  expect(() => lanes.gather(new Uint8Array(1), [1])).toThrow('the lanes to the other ranks are closed');
  expect(lanes.cost).toEqual({ sent: 0, received: 0, milliseconds: 0 });
});
