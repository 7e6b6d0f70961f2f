import { expect, test } from 'vitest';
import { connectWorkers } from '../src/cluster/root.ts';
import { fourfoldVersion } from '../src/cluster/secret.ts';
import { inferenceBytes } from '../src/cluster/traffic.ts';
import type { Row } from '../src/decoder.ts';
import { openDecoder } from '../src/open-decoder.ts';
import type { WorkerProcess } from './cluster-processes.ts';
import { lines, rootOf, workers, write } from './cluster-roots.ts';
import { TINY_WIDE, tinyModel } from './tiny.ts';

test('two workers without the model write what one rank writes, in the formula’s bytes; then from caches', async () => {
  const alone = await openDecoder(tinyModel(TINY_WIDE), { slots: 2 });
  const expected = await write(alone);
  await alone.close();
  const started = await workers(2);
  const decoder = await connectWorkers(rootOf(started));
  expect(await write(decoder)).toEqual(expected);
  const rows: Row[] = [1, 2, 3].map((token, position) => ({
    token,
    slot: 0,
    position,
    wanted: position === 2 ? 4 : 'nothing',
  }));
  await decoder.step(rows);
  const embeddingBytes = 4 * TINY_WIDE.dim;
  const traffic = { shape: TINY_WIDE, rows, ranks: 3, transfers: 'float32', embeddingBytes } as const;
  const { sent, received, total, transfer } = decoder.cost;
  expect({ sent, received }).toEqual(inferenceBytes(traffic));
  expect(transfer).toBeGreaterThan(0);
  expect(transfer).toBeLessThanOrEqual(total);
  await decoder.copySlot(0, 1, 3);
  const next = { token: 9, position: 3, wanted: 4 } as const;
  const [a, b] = await decoder.step([
    { ...next, slot: 0 },
    { ...next, slot: 1 },
  ]);
  expect(b).toEqual(a);
  await decoder.close();
  await Promise.all(started.map((worker) => worker.line(/waits for the next root/)));
  lines.length = 0;
  const again = await connectWorkers(rootOf(started));
  expect(lines.filter((line) => /sent 0\.0 MB, and it had 0\.[1-9] MB/.test(line))).toHaveLength(2);
  expect(await write(again)).toEqual(expected);
  await again.close();
}, 120_000);

test('a worker that stops fails the step after the time-out', async () => {
  const [worker] = (await workers(1)) as [WorkerProcess];
  const decoder = await connectWorkers(rootOf([worker], { timeoutMs: 1500 }));
  worker.child.kill('SIGSTOP');
  const step = decoder.step([{ token: 1, slot: 0, position: 0, wanted: 1 }]);
  await expect(step).rejects.toThrow(/^worker 127.0.0.1:\d+ \(rank 1\) has not answered for 1500 ms$/);
  worker.child.kill('SIGCONT');
  await decoder.close();
}, 60_000);

test('another version, another secret, another purpose and too many ranks are refused in words', async () => {
  const [worker] = (await workers(1)) as [WorkerProcess];
  const at = `worker 127.0.0.1:${worker.address.port}`;
  await expect(connectWorkers(rootOf([worker], { version: '9.9.9' }))).rejects.toThrow(
    `${at} says: it runs fourfold ${fourfoldVersion()}, and the root 9.9.9: install the same on both`,
  );
  const wrong = connectWorkers(rootOf([worker], { secret: 'another secret, long enough' }));
  await expect(wrong).rejects.toThrow(`${at} can't be had: it does not know the secret`);
  await worker.line(/turned 127.0.0.1 away: it does not know the secret/);
  await expect(connectWorkers(rootOf([worker, worker, worker, worker]))).rejects.toThrow(/ranks=5 can't share/);
  const decoder = await connectWorkers(rootOf([worker]));
  await expect(connectWorkers(rootOf([worker]))).rejects.toThrow(`${at} can't be had: it serves the root at`);
  await decoder.close();
}, 60_000);
