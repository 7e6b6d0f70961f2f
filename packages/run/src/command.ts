/**
 * The training command around the loop: it reads the settings, opens what they name, starts the ranks, and says how it
 * went.
 *
 *     await trainingCommand(import.meta.url, trainRank)      the last line of train.ts
 */
import { fileURLToPath, pathToFileURL } from 'node:url';
import { readConfig, runMain } from '@fourfold/cli';
import { openRunLog } from '@fourfold/metrics';
import { inWorld, isLaunched, type ProcessGroup, rankCount, spmd } from '@fourfold/process-group';
import { main as launch } from '@fourfold/process-group/launch';
import { checkModel, introduce, prepare, type Setup, settings } from '@fourfold/settings';
import { disk } from './disk.ts';
import type { Around } from './rank.ts';
import { checkResumed, findStart } from './resume.ts';

/** The loop, as one rank of the world. Returns the last validation loss. */
export type TrainRank = (setup: Setup, world: ProcessGroup, around: Around) => Promise<number>;

/** Runs the command if `program`, a file's address, is what Node was started with; nothing, if it was imported. */
export async function trainingCommand(program: string, trainRank: TrainRank): Promise<void> {
  if (program === pathToFileURL(process.argv[1] ?? '').href) await runMain(() => main(program, trainRank));
}

async function main(program: string, trainRank: TrainRank): Promise<void> {
  const usage = 'Trains a Llama on a text and prints how it goes, then text that it writes.';
  const given = process.argv.slice(2);
  const argv =
    given.length > 0 ? given : ['--config', fileURLToPath(new URL('../../../configs/start.json', import.meta.url))];
  const config = readConfig({ schema: settings, argv, name: 'npm start --', usage });
  const ranks = rankCount(config);
  if (config.launcher === 'processes' && ranks > 1 && !isLaunched()) {
    await checkModel(config);
    const flags = ['--nproc', String(ranks), '--max-restarts', String(config.maxRestarts)];
    return launch([...flags, fileURLToPath(program), ...argv]);
  }
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort(signal));
  const setup = await prepare(config);
  const body = (world: ProcessGroup) => asRank(setup, world, trainRank, stop.signal);
  const transport = setup.backend.device === 'cuda' ? 'nccl' : 'tcp';
  await (isLaunched() ? inWorld({ transport }, body) : spmd(ranks, body));
  setup.close();
  if (stop.signal.aborted) process.exitCode = stop.signal.reason === 'SIGINT' ? 130 : 143;
}

/** One rank: the first one says what the run is and how it goes. */
async function asRank(setup: Setup, world: ProcessGroup, trainRank: TrainRank, signal: AbortSignal) {
  const say = world.rank === 0 ? console.log : () => {};
  introduce(setup, say);
  const found = await findStart(setup, world, say);
  if (found) checkResumed(setup, found, say);
  const { steps, trace, gradients, model, data } = setup.config;
  const done = found?.manifest.step ?? 0;
  if (done >= steps) return say(`${done} of ${steps} steps are done: nothing is left to do`);
  const between = () => new Promise<void>((done) => setImmediate(done)); // lets a signal through: kernels block Node
  const around = { signal, disk, found, between };
  if (world.rank > 0) return trainRank(setup, world, around);
  const log = openRunLog({ ...setup.config, title: `${model} on ${data}`, done, later: [trace, gradients] });
  const validation = await trainRank(setup, world, { ...around, log });
  log.close();
  return validation;
}
