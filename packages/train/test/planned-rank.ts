/**
 * A rank of a launched world, for tests: runs one layout after the other, each on as many ranks as it needs, and writes
 * the most that it held in each, as JSON, to a file of its own.
 *
 *     launch --nproc 4 planned-rank.ts '[{"tp": 2}, {"dp": 4}]' FOLDER
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { inWorld, type ProcessGroup, rankCount } from '@fourfold/process-group';
import { memory, openBackend, resetPeak } from '@fourfold/runtime';
import { prepare, type Settings } from '@fourfold/settings';
import { gradientsOf, openRank, update } from '../src/train.ts';

export interface Observed {
  /** In a step, by group. */
  readonly sent: Record<string, number>;
  /** The most that tensors of this process held in a step. */
  readonly peakBytes: number;
}

const STEPS = 2;

/** Trains for two steps as one rank of the world. */
export async function observe(world: ProcessGroup, config: Settings): Promise<Observed> {
  const setup = await prepare(config);
  const before = memory().bytes;
  const rank = await openRank(setup, world);
  resetPeak();
  for (let step = 0; step < STEPS; step++) {
    const { sums } = await gradientsOf(rank, step);
    await update(rank, 0.01, sums);
    sums.dispose();
  }
  const peakBytes = memory().peakBytes - before;
  const sent: Record<string, number> = {};
  for (const { group, bytes } of world.recorder.totals())
    if (group !== 'world' && bytes > 0) sent[group] = (sent[group] ?? 0) + bytes / STEPS;
  rank.optimizer.dispose();
  for (const parameter of new Set([...rank.parameters, ...rank.data.updated])) parameter.dispose();
  setup.text.close();
  return { sent, peakBytes };
}

async function main([changes = '[]', folder = '']: string[]): Promise<void> {
  await openBackend({ device: 'cpu', threads: 1 });
  await inWorld({ transport: 'tcp' }, async (world) => {
    const peaks: (number | null)[] = [];
    for (const config of JSON.parse(changes) as Settings[]) {
      const isIn = world.rank < rankCount(config);
      const some = await world.split(isIn ? 0 : 1, world.rank, 'world');
      peaks.push(isIn ? (await observe(some, config)).peakBytes : null);
      await world.barrier();
    }
    writeFileSync(join(folder, `${world.rank}.json`), JSON.stringify(peaks));
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main(process.argv.slice(2));
