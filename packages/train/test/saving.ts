/**
 * What saving costs the steps around it: a model whose state is about a gigabyte, trained with and without checkpoints.
 *
 *     npx tsx packages/train/test/saving.ts
 *
 * Ten steps without a checkpoint, ten with one that begins after the first of them, in turn; all in one process.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exit } from 'node:process';
import { runMain } from '@fourfold/cli';
import { spmd } from '@fourfold/process-group';
import { aboutOf, openSaver } from '@fourfold/run';
import { prepare, settings } from '@fourfold/settings';
import { gradientsOf, numbersOf, openRank, update } from '../src/train.ts';

const STEPS = 10;

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-saving-'));
  const data = join(folder, 'text.txt');
  writeFileSync(data, 'It was the best of times, it was the worst of times.\n'.repeat(2000));
  const shape = { model: 'micro', layers: 12, dim: 768, heads: 12, kvHeads: 12, ffn: 2048 };
  const change = {
    ...shape,
    data,
    seqLength: 128,
    microBatchSize: 4,
    device: 'cpu',
    checkpoints: join(folder, 'saved'),
  };
  const setup = await prepare(settings.parse(change));
  await spmd(1, async (world) => {
    const rank = await openRank(setup, world);
    const saver = await openSaver(rank, console.log);
    let step = 0;
    const train = async () => {
      const { sums, own } = await gradientsOf(rank, step++, { written: saver?.isWritten });
      own.dispose();
      await update(rank, 1e-4, sums);
      if ((await numbersOf(rank, sums)).written) await saver?.commit();
      await new Promise(setImmediate);
    };
    const seconds = async (saves: boolean) => {
      const start = performance.now();
      await train();
      const copying = performance.now();
      if (saves) await saver?.save(aboutOf(rank, step, undefined));
      const copied = performance.now() - copying;
      for (let i = 1; i < STEPS; i++) await train();
      return [(performance.now() - start) / 1000, copied / 1000] as const;
    };
    await train();
    await seconds(true); // the first one makes the memory that the others use again
    for (let turn = 0; turn < 2; turn++) {
      const [[without], [with_, copied]] = [await seconds(false), await seconds(true)];
      const more = `${(100 * (with_ / without - 1)).toFixed(1)} % more, the copy ${copied.toFixed(2)} s`;
      console.log(`${STEPS} steps: ${without.toFixed(1)} s, with a checkpoint ${with_.toFixed(1)} s: ${more}`);
    }
    await saver?.close();
  });
  rmSync(folder, { recursive: true });
  exit(0);
}

await runMain(main);
