/**
 * A rank of a launched world, for tests: runs one layout after the other, each on as many ranks as it needs, and writes
 * what this rank sent and held in each, as JSON, to a file of its own.
 *
 *     launch --nproc 4 planned-rank.ts '[{"tp": 2}, {"dp": 4}]' FOLDER
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { inWorld, type ProcessGroup, rankCount } from '@fourfold/process-group';
import { memory, openBackend, resetPeak } from '@fourfold/runtime';
import { prepare, settings } from '@fourfold/settings';
import { gradientsOf, openRank, update } from '../src/train.ts';

export interface Observed {
  /** In a step, by group. */
  readonly sent: Record<string, number>;
  /** The most that its tensors held in a step. */
  readonly peakBytes: number;
}

const STEPS = 2;

/** Trains for two steps. */
async function observe(world: ProcessGroup, change: object): Promise<Observed> {
  const setup = await prepare(settings.parse(change));
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
    const observed: (Observed | null)[] = [];
    for (const change of JSON.parse(changes) as object[]) {
      const needed = rankCount(settings.parse(change));
      const some = await world.split(world.rank < needed ? 0 : 1, world.rank, 'world');
      observed.push(world.rank < needed ? await observe(some, change) : null);
      await world.barrier();
    }
    writeFileSync(join(folder, `${world.rank}.json`), JSON.stringify(observed));
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main(process.argv.slice(2));
