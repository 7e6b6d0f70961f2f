import { openBackend } from '@fourfold/runtime';
import { beforeAll, expect, test } from 'vitest';
import { openRanks, type Ranks, reopen, threadsOf } from '../src/cluster/open-ranks.ts';
import { randomModel } from '../src/cluster/random-model.ts';
import { inferenceBytes } from '../src/cluster/traffic.ts';
import { measure } from '../src/commands/bench.ts';
import { TINY_WIDE } from './tiny.ts';

beforeAll(async () => {
  await openBackend({ device: 'cpu', threads: 1 });
});

const ranks: Ranks = {
  ...{ workers: [], local: 1, transfers: 'q80', timeoutMs: 20_000, threads: 1, random: 'q40', log: () => {} },
};

test('two local ranks with random weights are measured, to the byte', async () => {
  const decoder = await openRanks(
    randomModel(TINY_WIDE, 'q40'),
    { maxRows: 8, maxSeqLength: 32 },
    { ...ranks, local: 2 },
  );
  const measured = await measure(decoder, 20, 5);
  await decoder.close();
  const row = { token: 0, slot: 0, position: 20, wanted: 1 } as const;
  const { sent, received } = measured;
  const traffic = { shape: TINY_WIDE, rows: [row], ranks: 2, transfers: 'q80', embeddingBytes: 0 } as const;
  expect({ sent, received }).toEqual(inferenceBytes(traffic));
  expect(measured.transfer).toBeGreaterThan(0);
  expect(measured.tokensPerSecond).toBeGreaterThan(0);
}, 60_000);

test('local ranks and workers exclude each other, and addresses are checked', async () => {
  const open = (more: Partial<Ranks>) => openRanks(randomModel(TINY_WIDE, 'q40'), {}, { ...ranks, ...more });
  await expect(open({ local: 5 })).rejects.toThrow("ranks=5 can't share the model's 4 heads: use 1 to 4");
  await expect(open({ local: 2, workers: ['a:1'] })).rejects.toThrow('--local 2 and --workers exclude each other');
  await expect(open({ workers: ['a'] })).rejects.toThrow('--workers a is no address');
  await expect(open({ workers: ['10.0.0.2:1'] })).rejects.toThrow('FOURFOLD_SECRET is missing');
  await expect(open({ workers: ['127.0.0.1:1'] })).rejects.toThrow("worker 127.0.0.1:1 can't be had: nobody listens");
});

test('cores are shared out, and each reason is told once', async () => {
  expect([threadsOf({ threads: 3, local: 9 }), threadsOf({ threads: undefined, local: 9999 })]).toEqual([3, 1]);
  const reasons = ['a', 'a', 'b'];
  const told: string[] = [];
  const decoder = await openRanks(randomModel(TINY_WIDE, 'q40'), { maxSeqLength: 8 }, ranks);
  const open = async () => {
    const reason = reasons.shift();
    if (reason) throw new Error(reason);
    return decoder;
  };
  expect(await reopen(open, { everyMs: 1, report: (why) => told.push(why) })).toBe(decoder);
  expect(told).toEqual(['a', 'b']);
  await decoder.close();
});
