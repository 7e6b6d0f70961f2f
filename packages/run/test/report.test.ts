import type { RunLog } from '@fourfold/metrics';
import { predictedBytes } from '@fourfold/plan';
import { useBackend } from '@fourfold/runtime/testing';
import { beforeAll, expect, test } from 'vitest';
import { report } from '../src/index.ts';
import { onRanks, step } from './ranks.ts';

beforeAll(() => useBackend('cpu'));

test('the bytes predicted for data parallelism are those that are sent, and the report says so', async () => {
  const lines: string[] = [];
  await onRanks({ dp: 2, zero: true }, async (rank) => {
    const { recorder } = rank.mesh.world;
    recorder.reset();
    await step(rank, 1);
    const sent = recorder.totals().filter(({ group }) => group === 'dpCp');
    const bytes = sent.reduce((sum, total) => sum + total.bytes, 0);
    expect(predictedBytes(rank.setup, rank.mesh, rank.parts, rank.data.bytes())['dpCp']).toBe(bytes);
    expect(bytes).toBeGreaterThan(0);
    const log = { say: (line: string) => lines.push(line) } as unknown as RunLog;
    await report(rank, 1, [], rank.mesh.world.rank === 0 ? log : undefined);
  });
  expect(lines.join('\n')).toMatch(/What each rank sent in one step.*[\s\S]*dpCp +all +reduceScatter/);
});
