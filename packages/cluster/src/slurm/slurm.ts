/**
 * `npx fourfold slurm`: training runs as jobs of a Slurm cluster.
 *
 *     npx fourfold slurm submit configs/a.json configs/b.json --time 12:00:00 --partition gpu
 *     npx fourfold slurm status runs
 *     npx fourfold slurm resubmit runs --only oom --mem 128G
 */
import { join } from 'node:path';
import { HelpWanted } from '@fourfold/cli';
import { UserError } from '@fourfold/runtime/errors';
import { z } from 'zod';
import { table } from '../table.ts';
import { readWords } from '../words.ts';
import { changedOptions, type JobOptions, jobOptions } from './options.ts';
import { askSlurm, corrected } from './queue.ts';
import { CONFIG_FILE, makeRun, planRuns, readOptions, runFolders, runName } from './runs.ts';
import { isOver, readStatus, type Status, writeStatus } from './state.ts';
import { submission, submitAll } from './submit.ts';

const help = `npx fourfold slurm COMMAND

Commands:
  submit PATH...     A job for each configuration file, and for each folder with a config.json at or below a path.
  status DIR...      What state the runs below are in; Slurm is asked, and status files that it knows better put right.
  resubmit DIR...    Again, those that ended by --only fail, oom or timeout.

Each tells its settings by --help.`;

const out = z.string().min(1).default('runs').describe('where configuration files get a folder each');

const submitSettings = z.object({ out, ...submission.shape, ...jobOptions.shape });

const RESUBMITTED = ['fail', 'oom', 'timeout'] as const;
const resubmitSettings = z.object({
  only: z
    .array(z.enum(RESUBMITTED))
    .min(1)
    .describe(`how the runs ended: ${RESUBMITTED.join(', ')}`),
  ...submission.shape,
  ...changedOptions.shape,
});

/** Runs the command of these words. */
export async function slurm([verb, ...argv]: readonly string[]): Promise<void> {
  if (verb === undefined || verb === '--help' || verb === '-h') throw new HelpWanted(help);
  const commands = { submit, status, resubmit };
  if (!Object.hasOwn(commands, verb))
    throw new UserError(`slurm ${verb} is not a command: use slurm ${Object.keys(commands).join(', ')}`);
  await commands[verb as keyof typeof commands](argv);
}

async function submit(argv: readonly string[]): Promise<void> {
  const usage = 'Submits a job to Slurm for each configuration.';
  const name = 'npx fourfold slurm submit';
  const { words, settings } = readWords({ name, words: 'PATH...', usage, schema: submitSettings, argv });
  const plans = await planRuns(words, settings.out);
  for (const { folder } of plans) {
    const { state, job } = readStatus(folder);
    if (state !== 'init')
      throw new UserError(`${folder} has a run already, ${state} as job ${job}: use slurm resubmit, or another --out`);
  }
  const { options, ...asked } = split(settings);
  const jobs = plans.map((plan) => makeRun(plan, options, !asked.dryRun));
  await submitAll(jobs, options, asked);
}

async function status(argv: readonly string[]): Promise<void> {
  const usage = "Shows what state the runs below are in, and corrects it by Slurm's word.";
  const schema = z.object({});
  const { words } = readWords({ name: 'npx fourfold slurm status', words: 'DIR...', usage, schema, argv });
  const rows: string[][] = [];
  for (const root of words)
    for (const { folder, status } of await statusesBelow(root))
      rows.push([runName(root, folder), status.state, status.job, status.detail]);
  console.log(table([['run', 'state', 'job', ''], ...rows]));
}

async function resubmit(argv: readonly string[]): Promise<void> {
  const usage = "Submits runs again that have ended so. Settings that aren't given are the last submission's.";
  const name = 'npx fourfold slurm resubmit';
  const { words, settings } = readWords({ name, words: 'DIR...', usage, schema: resubmitSettings, argv });
  const { only, array, dryRun, ...changes } = settings;
  const given = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
  const ended = (await Promise.all(words.map(statusesBelow))).flat();
  const chosen = ended.filter(({ status }) => only.some((state) => state === status.state));
  if (chosen.length === 0) return console.log(`None of ${ended.length} runs ended by ${only.join(' or ')}`);
  const runs = await Promise.all(
    chosen.map(async ({ folder }) => {
      const [plan] = await planRuns([join(folder, CONFIG_FILE)], folder);
      if (!plan) throw new Error(`${folder} holds no run`);
      const options: JobOptions = { ...readOptions(folder), ...given };
      return { job: makeRun(plan, options, !dryRun), options };
    }),
  );
  const jobs = runs.map(({ job }) => job);
  await submitAll(jobs, changes, { array, dryRun });
}

/** The settings of a submission apart from those of its jobs. */
function split({ out: _, array, dryRun, ...options }: z.infer<typeof submitSettings>) {
  return { options, array, dryRun };
}

/** The runs below a folder, each with its true state: asks Slurm, and writes what Slurm alone could know. */
async function statusesBelow(root: string): Promise<{ readonly folder: string; readonly status: Status }[]> {
  const runs = runFolders(root).map((folder) => ({ folder, said: readStatus(folder) }));
  const open = runs.filter(({ said: { state } }) => state !== 'init' && state !== 'completed');
  const words = await askSlurm(open.map(({ said }) => said.job));
  return runs.map(({ folder, said }) => {
    const status = corrected(said, words.get(said.job));
    // A job that isn't over writes its file itself.
    if (isOver(status) && status.state !== said.state) writeStatus(folder, status);
    return { folder, status };
  });
}
