/** Layouts whose plan is held against a run, and both. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openTokenizer } from '@fourfold/data';
import { memoryOf, partsOf, plannedBytesOf } from '@fourfold/plan';
import { coordinatesOf, rankCount } from '@fourfold/process-group';
import { settings, shapeOf } from '@fourfold/settings';
import { node } from './command.ts';
import type { Observed } from './planned-rank.ts';

/** Large enough that tensors of a few numbers don't matter. */
const size = { model: 'micro', layers: 4, device: 'cpu', seqLength: 128, microBatchSize: 4, bucketMegabytes: 0.25 };
const bin = fileURLToPath(new URL('../../process-group/bin/launch.mjs', import.meta.url));
const script = fileURLToPath(new URL('planned-rank.ts', import.meta.url));

export interface Compared {
  readonly rank: number;
  readonly observed: Observed;
  readonly planned: Observed;
}

/** Runs the layouts on as many processes as the largest needs; for each, what its ranks did and should have done. */
export async function compared(changes: readonly object[]): Promise<Compared[][]> {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-planned-'));
  const data = join(folder, 'text.txt');
  writeFileSync(data, 'It was the best of times, it was the worst of times.\n'.repeat(500));
  const configs = changes.map((change) => settings.parse({ ...size, data, ...change }));
  const ranks = Math.max(...configs.map(rankCount));
  try {
    const { code, stderr } = await node([bin, '--nproc', `${ranks}`, script, JSON.stringify(configs), folder]);
    if (code !== 0) throw new Error(stderr);
    const read = (rank: number) => JSON.parse(readFileSync(join(folder, `${rank}.json`), 'utf8')) as Observed[];
    const files = Array.from({ length: ranks }, (_, rank) => read(rank));
    return await Promise.all(
      configs.map(async (config, i) => {
        const job = { config, shape: shapeOf(config, await openTokenizer('bytes')) };
        const each = files.slice(0, rankCount(config)).map(async (file, rank) => {
          const { pp } = coordinatesOf(rank, config);
          const memory = memoryOf(job, partsOf(job)[pp] as ReturnType<typeof partsOf>[number], pp);
          const planned = { sent: await plannedBytesOf(job, rank), peakBytes: memory.total };
          return { rank, observed: file[i] as Observed, planned, memory };
        });
        return Promise.all(each);
      }),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}
