/**
 * What saving costs the steps around it: a model whose state is about a gigabyte, trained with and without checkpoints.
 *
 *     npx tsx packages/train/test/saving.ts                                       a state of 0.9 GB, on a CPU
 *     npx tsx packages/train/test/saving.ts --device cuda --precision bfloat16 --steps 100 --model SmolLM-135M
 *
 * So many steps without a checkpoint, as many with one that begins after the first of them, in turn; all in one
 * process. `--steps` is how often such a run would save; other settings are train's.
 */
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exit } from 'node:process';
import { readConfig, runMain } from '@fourfold/cli';
import { spmd } from '@fourfold/process-group';
import { aboutOf, openSaver } from '@fourfold/run';
import { prepare, settings } from '@fourfold/settings';
import { gradientsOf, numbersOf, openRank, update } from '../src/train.ts';

const SHAPE = { model: 'micro', layers: 12, dim: 768, heads: 12, kvHeads: 12, ffn: 2048 };
const SIZES = { device: 'cpu', seqLength: 128, microBatchSize: 4, steps: 10 };

/** The command line's flags, and where it names no model or size, those of this script. */
function flagsOf(argv: readonly string[], folder: string): string[] {
  const presets = { ...(argv.includes('--model') ? {} : SHAPE), ...SIZES, data: join(folder, 'text.txt') };
  const wanted = Object.entries({ ...presets, checkpoints: join(folder, 'saved') });
  const missing = wanted.filter(([key]) => !argv.includes(`--${key}`));
  return [...missing.flatMap(([key, value]) => [`--${key}`, String(value)]), ...argv];
}

/** The bytes of the newest checkpoint. */
function bytesIn(folder: string): number {
  const newest = readdirSync(folder).sort().at(-1) as string;
  const names = readdirSync(join(folder, newest));
  return names.reduce((sum, name) => sum + statSync(join(folder, newest, name)).size, 0);
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-saving-'));
  writeFileSync(join(folder, 'text.txt'), 'It was the best of times, it was the worst of times.\n'.repeat(2000));
  const argv = flagsOf(process.argv.slice(2), folder);
  const config = readConfig({ schema: settings, argv, name: 'saving.ts', usage: 'Says what saving costs.' });
  const setup = await prepare(config);
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
      for (let i = 1; i < config.steps; i++) await train();
      return [(performance.now() - start) / 1000, copied / 1000] as const;
    };
    await train();
    await seconds(true); // the first one makes the memory that the others use again
    for (let turn = 0; turn < 3; turn++) {
      const [[without], [with_, copied]] = [await seconds(false), await seconds(true)];
      const size = (bytesIn(join(folder, 'saved')) / 1e9).toFixed(2);
      const more = `of ${size} GB: ${(100 * (with_ / without - 1)).toFixed(1)} % more, the copy ${copied.toFixed(2)} s`;
      console.log(`${config.steps} steps: ${without.toFixed(1)} s, with a checkpoint ${with_.toFixed(1)} s, ${more}`);
    }
    await saver?.close();
  });
  rmSync(folder, { recursive: true });
  exit(0);
}

await runMain(main);
