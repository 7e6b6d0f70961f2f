/**
 * `nx run train:plan`: what a training run will take of each rank, without running it or opening TensorFlow.
 *
 *     npx nx run train:plan -- --model Llama-3-8B --seqLength 4096 --dp 2 --tp 8 --device h100 --precision bfloat16
 *     npx nx run train:plan -- --config configs/start.json --device cpu
 *     npx nx run train:plan -- --model Llama-2-7B --sequences 1024 --nodes 16 --search
 *     npx nx run train:plan -- --compare bench/results
 *
 * It takes the settings of a run, and some of its own.
 */
import { readConfig, runMain } from '@fourfold/cli';
import { rankCount } from '@fourfold/process-group';
import { UserError } from '@fourfold/runtime/errors';
import { checkModel, type Settings, settings } from '@fourfold/settings';
import { z } from 'zod';
import { MACHINES, type Machine } from './machines.ts';
import { comparison, measuredRuns } from './measured.ts';
import { planOf, search } from './plan.ts';
import { heading, report, searchReport } from './report.ts';

const count = z.int().positive();
const names = Object.keys(MACHINES) as [string, ...string[]];
// biome-ignore format: a table
const own = z.object({
  device: z.enum(names).default('h100').describe('what each rank has: machines.json in packages/plan/src')
    .meta({ group: 'Plan' }),
  nodes: count.max(65_536).optional().describe('machines; default: as many as the layout needs'),
  search: z.boolean().default(false).describe('rank all layouts of those machines'),
  sequences: count.optional().describe('search: of a step, if not those of the layout that was given'),
  compare: z.string().optional().describe('folder of results of bench:gpu, to hold the plan against'),
  top: count.max(1000).default(10).describe('search: how many layouts to print'),
});
const { device: _, ...training } = settings.shape;
export const planSettings = z.object({ ...own.shape, ...training });
type PlanSettings = z.infer<typeof planSettings>;

/** A layout with so many sequences a step, whatever it is: a search keeps these alone. */
const withSequences = (config: Settings, sequences: number | undefined): Settings =>
  sequences ? { ...config, dp: 1, microBatchSize: 1, gradAccSteps: sequences } : config;

async function main(): Promise<void> {
  const usage = 'Says what a training run will take of each rank: memory, traffic and time. Nothing runs.';
  const argv = process.argv.slice(2);
  const given: PlanSettings = readConfig({ schema: planSettings, argv, name: 'nx run train:plan --', usage });
  const { device, nodes, search: searches, sequences, top, compare, ...rest } = given;
  if (compare !== undefined) return console.log(comparison(measuredRuns(compare)).join('\n'));
  const machine = MACHINES[device] as Machine;
  const run: Settings = { ...rest, device: device === 'cpu' ? 'cpu' : 'cuda' };
  const shape = await checkModel({ ...run, device: 'cuda' }); // whether this machine has the memory is no question here
  const ranks = nodes ? nodes * machine.perNode : rankCount(run);
  if (searches) return searchLayouts({ config: withSequences(run, sequences), shape }, machine, { ranks, top });
  if (ranks < rankCount(run))
    throw new UserError(`nodes=${nodes} has ${ranks} devices and the layout ${rankCount(run)} ranks: use more nodes`);
  console.log(await report(planOf({ config: run, shape }, machine), machine));
}

function searchLayouts(
  job: Parameters<typeof search>[0],
  machine: Machine,
  asked: { ranks: number; top: number },
): void {
  const start = performance.now();
  const found = search(job, machine, asked.ranks, asked.top);
  console.log(heading(job, machine, asked.ranks).join('\n'));
  if (found.plans.length === 0)
    throw new UserError(`no layout of ${asked.ranks} ranks fits: use more nodes, other sequences or a smaller model`);
  console.log(searchReport(found, (performance.now() - start) / 1000).join('\n'));
}

await runMain(main);
